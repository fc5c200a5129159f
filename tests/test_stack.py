"""The stack of layers equals one written by hand, and dropout is a function of (seed, layer, epoch, step)."""

import pytest
import running
import torch
from torch import nn

from mlpkit.data.load import load_dataset
from mlpkit.errors import ConfigError
from mlpkit.models.torch_layers import Dropout, seed_dropout
from mlpkit.models.torch_network import build_model, count_parameters


def build(*overrides):
    config = running.config(*overrides)
    return build_model(config, load_dataset(config.dataset))


ACTIVATION_FUNCTIONS = {
    "relu": torch.relu,
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.01 * x),
    "prelu": lambda x: torch.where(x > 0, x, 0.25 * x),
    "elu": lambda x: torch.where(x > 0, x, torch.expm1(x)),
    "gelu": lambda x: x * torch.special.ndtr(x),
    "silu": lambda x: x * torch.sigmoid(x),
    "mish": lambda x: x * torch.tanh(torch.log1p(torch.exp(x))),
    "selu": lambda x: 1.0507009873554805 * torch.where(x > 0, x, 1.6732632423543772 * torch.expm1(x)),
    "softplus": lambda x: torch.log1p(torch.exp(x)),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "identity": lambda x: x,
}


@pytest.mark.parametrize("activation", ACTIVATION_FUNCTIONS)
def test_forward_is_the_formula(activation):
    network = build(
        "dataset=moons", f"model.activation={activation}", "model.hidden=[5,3]", "trainer.precision=float64"
    )
    inputs = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    linear = [layer for layer in network.layers if isinstance(layer, nn.Linear)]
    units = inputs
    for layer in linear[:-1]:
        units = ACTIVATION_FUNCTIONS[activation](units @ layer.weight.T + layer.bias)
    expected = units @ linear[-1].weight.T + linear[-1].bias
    torch.testing.assert_close(network(inputs), expected)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "Linear ReLU Linear ReLU Linear"),
        (("model.dropout=0.5",), "Linear ReLU Dropout Linear ReLU Dropout Linear"),
        (("model.norm=layer",), "Linear LayerNorm ReLU Linear LayerNorm ReLU Linear"),
        (("model.norm=batch",), "Linear BatchNorm1d ReLU Linear BatchNorm1d ReLU Linear"),
        (("model.activation=tanh", "model.hidden=[4]"), "Linear Tanh Linear"),
        (("model=logistic",), "Linear"),
    ],
)
def test_order_of_the_layers(options, expected):
    network = build("dataset=moons", *options)
    assert " ".join(type(layer).__name__ for layer in network.layers) == expected


@pytest.mark.parametrize(
    ("overrides", "parameters"),
    [
        (("dataset=moons", "model.hidden=[4]"), 2 * 4 + 4 + 4 + 1),
        (("dataset=moons", "model.hidden=[4]", "model.bias=false"), 2 * 4 + 4),
        (("dataset=moons", "model.hidden=[4]", "model.norm=batch"), 2 * 4 + 4 + 8 + 4 + 1),
        (("dataset=digits", "model.hidden=[32]"), 64 * 32 + 32 + 32 * 10 + 10),
        (("dataset=digits", "model=logistic"), 64 * 10 + 10),
        (("dataset=sum", "dataset.terms=5", "model=linear", "model.bias=false"), 5),
    ],
)
def test_number_of_parameters(overrides, parameters):
    assert count_parameters(build(*overrides)) == parameters


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_norms_equal_torch_in_training_and_evaluation(norm):
    network = build("dataset=moons", "model.hidden=[6]", f"model.norm={norm}", "trainer.precision=float64")
    kind = nn.BatchNorm1d(6) if norm == "batch" else nn.LayerNorm(6)
    reference = nn.Sequential(nn.Linear(2, 6), kind, nn.ReLU(), nn.Linear(6, 1)).double()
    reference.load_state_dict(network.layers.state_dict(), strict=False)
    random = torch.Generator().manual_seed(0)
    for training in (True, True, False):
        network.train(training)
        reference.train(training)
        inputs = torch.randn(30, 2, generator=random, dtype=torch.float64) + 1
        torch.testing.assert_close(network(inputs), reference(inputs))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("dataset=moons", "model=linear"),
            "model=linear: dataset=moons is a binary classification; use model=logistic, mlp or tabm",
        ),
        (
            ("dataset=digits", "model=linear"),
            "model=linear: dataset=digits is a multiclass classification; use model=logistic, mlp or tabm",
        ),
        (
            ("dataset=line", "model=logistic"),
            "model=logistic: dataset=line is a regression; use model=linear, mlp or tabm",
        ),
    ],
)
def test_a_model_that_does_not_go_with_the_task(overrides, message):
    with pytest.raises(ConfigError) as error:
        build(*overrides)
    assert str(error.value) == message


def masks(seed, epoch, step, layers=2):
    """Return which units each dropout layer of a stack lets through."""
    network = build("dataset=moons", f"model.hidden={[50] * layers}", "model.dropout=0.5")
    dropouts = [layer for layer in network.layers if isinstance(layer, Dropout)]
    seed_dropout([layer.random for layer in dropouts], seed, epoch, step)
    return [layer(torch.ones(20, 50)) for layer in dropouts]


def test_masks_are_a_function_of_seed_layer_epoch_and_step():
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    drawn = [tuple(mask.flatten().tolist()) for key in keys for mask in masks(*key)]
    assert len(set(drawn)) == 8
    torch.rand(3)  # the global generator moves on
    assert [tuple(mask.flatten().tolist()) for key in keys for mask in masks(*key)] == drawn
    deeper = masks(0, 0, 0, layers=4)
    assert [tuple(mask.flatten().tolist()) for mask in deeper[:2]] == drawn[:2]


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_a_share_of_the_units_and_the_mean(rate):
    layer, units = Dropout(rate, "cpu"), torch.full((1000, 400), 3.0)
    layer.random.manual_seed(0)
    dropped = layer(units)
    count = units.numel()
    kept = dropped != 0
    share = round(rate * 65536) / 65536  # what is dropped, so that the mean stays that of the units
    torch.testing.assert_close(dropped[kept], units[kept] / (1 - share))
    assert share == pytest.approx(rate, abs=1e-5)
    deviation = (rate * (1 - rate) / count) ** 0.5  # of a share of binomial draws
    assert kept.double().mean().item() == pytest.approx(1 - rate, abs=5 * deviation)
    assert dropped.double().mean().item() == pytest.approx(3, abs=5 * 3 * deviation / (1 - rate))
    by_unit, by_row = kept.double().mean(0), kept.double().mean(1)  # no unit and no row is favoured
    assert (by_unit - (1 - rate)).abs().max() < 6 * (rate * (1 - rate) / 1000) ** 0.5
    assert (by_row - (1 - rate)).abs().max() < 6 * (rate * (1 - rate) / 400) ** 0.5


@pytest.mark.parametrize(("rate", "share"), [(1e-6, 0), (1e-5, 1), (0.99999, 65535), (1 - 1e-9, 65535)])
def test_rates_at_the_ends_are_the_nearest_that_drop_a_share(rate, share):
    layer, units = Dropout(rate, "cpu"), torch.ones(2000, 2000)
    layer.random.manual_seed(0)
    dropped = layer(units)
    expected, count = share / 65536, units.numel()
    assert (dropped == 0).sum().item() == pytest.approx(expected * count, abs=5 * (expected * count) ** 0.5)
    assert dropped.max().item() == pytest.approx(1 / (1 - expected), rel=1e-6)


def test_dropout_is_the_identity_in_evaluation():
    units = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Dropout(0.9, "cpu").eval()(units), units)


def test_the_gradient_passes_where_the_units_do():
    layer, units = Dropout(0.5, "cpu"), torch.ones(10, 10, requires_grad=True)
    layer.random.manual_seed(0)
    dropped = layer(units)
    dropped.sum().backward()
    assert torch.equal(units.grad, dropped.detach())
