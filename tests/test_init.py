"""First weights and biases are those of torch.nn.init with the same generator."""

import math

import pytest
import running
import torch
from scipy import stats
from torch import nn

from mlpkit.data.load import load_dataset
from mlpkit.data.randomness import derived_seed, generator
from mlpkit.models.torch_network import build_model


def build(*overrides):
    """Return the linear layers of a network, 2-30-20-1 unless the overrides say otherwise."""
    hidden = () if any("hidden" in override for override in overrides) else ("model.hidden=[30,20]",)
    config = running.config("dataset=moons", *hidden, *overrides)
    network = build_model(config, load_dataset(config.dataset))
    return [layer for layer in network.layers if isinstance(layer, nn.Linear)]


CASES = [
    (("init=normal",), nn.init.normal_, (0.0, 0.01)),
    (("init=normal", "init.mean=1", "init.std=0.5"), nn.init.normal_, (1.0, 0.5)),
    (("init=uniform",), nn.init.uniform_, (-0.1, 0.1)),
    (("init=uniform", "init.low=0", "init.high=3"), nn.init.uniform_, (0.0, 3.0)),
    (("init=xavier_uniform",), nn.init.xavier_uniform_, (1.0,)),
    (("init=xavier_uniform", "init.gain=2"), nn.init.xavier_uniform_, (2.0,)),
    (("init=xavier_normal", "init.gain=0.5"), nn.init.xavier_normal_, (0.5,)),
    (("init=kaiming_uniform",), nn.init.kaiming_uniform_, (0.0, "fan_in", "relu")),
    (
        ("init=kaiming_uniform", "init.mode=fan_out", "init.nonlinearity=leaky_relu", "init.a=0.3"),
        nn.init.kaiming_uniform_,
        (0.3, "fan_out", "leaky_relu"),
    ),
    (
        ("init=kaiming_normal", "init.nonlinearity=tanh"),
        nn.init.kaiming_normal_,
        (0.0, "fan_in", "tanh"),
    ),
    (("init=orthogonal",), nn.init.orthogonal_, (1.0,)),
    (("init=orthogonal", "init.gain=1.5"), nn.init.orthogonal_, (1.5,)),
]


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("overrides", "fill", "arguments"), CASES, ids=[" ".join(case[0]) for case in CASES])
def test_weights_equal_torch(overrides, fill, arguments):
    random = generator(5, "init")
    layers = build(*overrides, "seed=5")
    for layer in layers:
        assert torch.equal(layer.weight, fill(torch.empty_like(layer.weight), *arguments, generator=random))
        assert layer.bias.count_nonzero() == 0
    assert [tuple(layer.weight.shape) for layer in layers] == [(30, 2), (20, 30), (1, 20)]


def test_random_biases_and_small_last_weights():
    """Neither changes what else is drawn."""
    plain = build("init=kaiming_normal", "model.hidden=[300]")
    layers = build("init=kaiming_normal", "model.hidden=[300]", "init.output_factor=0.1")
    assert torch.equal(layers[0].weight, plain[0].weight)
    assert torch.equal(layers[1].weight, plain[1].weight * 0.1)
    first, _ = build("init=kaiming_normal", "model.hidden=[300]", "init.bias=1", "init.bias_std=0.2")
    assert torch.equal(first.weight, plain[0].weight)
    assert stats.kstest(first.bias.tolist(), stats.norm(1, 0.2).cdf).pvalue > 0.01


def test_biases_around_torchs_own_are_refused(refused):
    said = refused("train", "dataset=moons", "init.bias_std=0.1", code=2)
    assert "bias_std=0.1 needs a number for bias; set bias=0" in said


def test_default_equals_torch_linear_layers():
    layers = build("seed=5")
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(derived_seed(5, "init"))
        expected = [nn.Linear(2, 30), nn.Linear(30, 20), nn.Linear(20, 1)]
    for layer, like in zip(layers, expected, strict=True):
        assert torch.equal(layer.weight, like.weight)
        assert torch.equal(layer.bias, like.bias)


def test_default_fills_its_bounds_evenly():
    """Uniform between plus and minus 1/√fan_in, weights and biases (nn.Linear)."""
    first, second, _ = build("model.hidden=[2000,300]")
    for values, fan_in in ((first.weight, 2), (first.bias, 2), (second.weight, 2000)):
        bound = 1 / math.sqrt(fan_in)
        drawn = values.detach().flatten().double().numpy()
        assert stats.kstest(drawn, stats.uniform(-bound, 2 * bound).cdf).pvalue > 0.001


@pytest.mark.parametrize(("overrides", "value"), [(("init=zeros",), 0.0), (("init=constant",), 0.1)])
def test_constants(overrides, value):
    for layer in build(*overrides):
        assert torch.equal(layer.weight, torch.full_like(layer.weight, value))
        assert layer.bias.count_nonzero() == 0


@pytest.mark.parametrize("init", ["default", "normal", "zeros"])
def test_bias_is_a_number_or_that_of_torch(init):
    for layer in build(f"init={init}", "init.bias=0.25"):
        assert torch.equal(layer.bias, torch.full_like(layer.bias, 0.25))
    for layer in build(f"init={init}", "init.bias=default"):
        assert layer.bias.count_nonzero() == len(layer.bias)
        assert layer.bias.abs().max() <= 1 / math.sqrt(layer.in_features)


def test_without_biases():
    assert [layer.bias for layer in build("model.bias=false", "init=xavier_normal")] == [None] * 3


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_norms_begin_with_ones_and_zeros(norm):
    config = running.config("dataset=moons", f"model.norm={norm}", "model.hidden=[3]")
    state = build_model(config, load_dataset(config.dataset)).layers[1].state_dict()
    expected: dict[str, object] = {"weight": [1.0] * 3, "bias": [0.0] * 3}
    if norm == "batch":
        expected |= {"running_mean": [0.0] * 3, "running_var": [1.0] * 3, "num_batches_tracked": 0}
    assert {name: tensor.tolist() for name, tensor in state.items()} == expected


def test_weights_are_a_function_of_the_seed():
    first, again, other = (build(f"seed={seed}") for seed in (1, 1, 2))
    assert torch.equal(first[0].weight, again[0].weight)
    assert not torch.equal(first[0].weight, other[0].weight)


def test_float64_begins_with_the_same_weights():
    single, double = build(), build("trainer.precision=float64")
    for a, b in zip(single, double, strict=True):
        assert b.weight.dtype == torch.float64
        assert torch.equal(a.weight.double(), b.weight)
