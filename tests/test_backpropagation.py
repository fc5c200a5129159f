"""Gradients by hand are those of central differences; several networks at once are the same as each alone."""

import itertools
from functools import cache
from itertools import pairwise

import pytest
import running
import torch
from cases import rest_long
from torch import nn

from mlpkit.config.registry import choices
from mlpkit.data.dataset import Dataset, Split
from mlpkit.data.input_schema import InputSchema
from mlpkit.engines.activations import in_place_activation
from mlpkit.engines.engine import Engine
from mlpkit.engines.manual_layers import unsupported_layer
from mlpkit.models.torch_layers import AlphaDropout, Dropout, seed_dropout
from mlpkit.models.torch_network import Network
from mlpkit.training.build import experiment_of

STEP = 1e-5  # to each side; the difference's own error, rounding / STEP and STEP² f''', is least about here
CLOSE = {"rtol": 1e-7, "atol": 1e-8}
ROUNDING = {"rtol": 1e-12, "atol": 1e-13}  # of a float64, for sums in another order

FEATURES, HIDDEN = 3, (4, 5)
WIDTHS = {"regression": 3, "binary": 1, "multiclass": 4}  # of the outputs


ACTIVATIONS = [getattr(nn, vars(of)["torch_class"]) for of in choices("activation").values()]
# Hidden layers compute the derivative of tanh from its outputs, and of GELU from its inputs.
NETWORKS = rest_long(
    itertools.product(ACTIVATIONS, WIDTHS, (True, False), (0.0, 0.4)),
    lambda case: case[0] in (nn.Tanh, nn.GELU) or case[1:] == ("multiclass", True, 0.4),
)


def shown(value):
    """Return what stands in the test's name."""
    return value.__name__ if isinstance(value, type) else None


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def targets_of(task, rows, seed=0):
    width = WIDTHS[task]
    if task == "regression":
        return numbers(rows, width, seed=seed + 50)
    return torch.arange(seed, seed + rows) % max(2, width)


def table_of(task, rows, seed=0):
    """Return rows whose targets, and for another seed whose inputs, are others."""
    width = WIDTHS[task]
    names = tuple(f"y{number}" for number in range(width))
    classes = () if task == "regression" else tuple(f"class {number}" for number in range(max(2, width)))
    features = tuple(f"x{number}" for number in range(FEATURES))
    input_schema = InputSchema(
        task, features, (FEATURES,), names if task == "regression" else names[:1], classes
    )
    split = Split(numbers(rows, FEATURES, seed=seed + 9), targets_of(task, rows, seed))
    return Dataset("some", input_schema, {"train": split})


def random_network(task, activation, bias=True, rate=0.0, seed=0, dropout=Dropout):
    widths = (FEATURES, *HIDDEN, WIDTHS[task])
    layers: list[nn.Module] = []
    for index, (below, above) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(below, above, bias))
        if index < len(HIDDEN):
            layers += [activation(), *([dropout(rate, "cpu")] if rate else [])]
    network = Network(nn.Sequential(*layers), None, None)
    for index, parameter in enumerate(network.parameters()):
        parameter.data = numbers(*parameter.shape, seed=100 * seed + index)
    return network


configured = cache(running.config)


def engine_of(networks, tables, batch_size="full"):
    config = configured("trainer.precision=float64", f"trainer.batch_size={batch_size}")
    pairs = zip(networks, tables, strict=True)
    return Engine([experiment_of(config, table, of) for of, table in pairs])


def differentiate(engine, rows=slice(None), count=None, add=False, first=0):
    """Write gradients as a step does, of the mean over `count` rows; return outputs (…, width, rows).

    Networks are counted from `first`, which their masks depend on.
    """
    for run, generators in enumerate(engine.dropout):
        seed_dropout(generators, first + run, 0, 0)
    with engine.context:
        return engine.filler.fill(rows, count or engine.data.rows, add, None).clone()


def gradients_of(engine, run=0):
    """Return copies by name."""
    return {name: slopes.clone() for name, slopes in engine.parameters.of_run(engine.gradients, run).items()}


def central_differences(engine):
    found = {}
    for name, values in engine.parameters.of_run(engine.parameters.values, 0).items():
        slopes, flat = torch.empty_like(values), values.view(-1)
        for index in range(len(flat)):
            kept, sides = flat[index].item(), []
            for side in (STEP, -STEP):
                flat[index] = kept + side
                outputs = differentiate(engine)
                sides.append(engine.data.losses(outputs.mT, "train", slice(None)).mean().item())
            flat[index] = kept
            slopes.view(-1)[index] = (sides[0] - sides[1]) / (2 * STEP)
        found[name] = slopes
    return found


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("activation", "task", "bias", "rate"), NETWORKS, ids=shown)
def test_gradients_are_central_differences(activation, task, bias, rate):
    for rows in (1, 2, 7):
        engine = engine_of([random_network(task, activation, bias, rate)], [table_of(task, rows)])
        engine.gradients.fill_(float("nan"))  # to be written over
        differentiate(engine)
        found = gradients_of(engine)
        torch.testing.assert_close(found, central_differences(engine), **CLOSE)
        if rows == 7:
            assert max(float(gradient.abs().max()) for gradient in found.values()) > 0.01


UNTRAINED = [of for of in ACTIVATIONS if of is not nn.PReLU]  # whose slope tests/test_gradients.py checks too


@pytest.mark.parametrize("activation", UNTRAINED, ids=lambda kind: kind.__name__)
def test_an_activation_and_its_derivative_are_those_of_torchs_class(activation):
    z = torch.cat((torch.linspace(-40, 40, 801), torch.tensor([0.0, -0.0, 1e-8, -1e-8]))).double()
    z.requires_grad_()
    expected = activation()(z)
    (slopes,) = torch.autograd.grad(expected.sum(), z)
    by_hand, units, delta = in_place_activation(activation()), z.detach().clone(), torch.ones_like(z.detach())
    into = torch.empty_like(units) if by_hand.needs_pre_activations else units
    by_hand.apply(units, into)
    torch.testing.assert_close(into, expected.detach(), **ROUNDING)
    by_hand.derive(delta, units if by_hand.needs_pre_activations else into)
    torch.testing.assert_close(delta, slopes, **ROUNDING)


@pytest.mark.parametrize("rate", [0.0, 0.4])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_add_up(bias, rate):
    """Those of three batches of a step, each divided by all of the step's rows, are that of the mean."""
    network, table = random_network("multiclass", nn.Tanh, bias, rate), table_of("multiclass", 10)
    engine, alone = engine_of([network], [table], batch_size=4), []
    parts = torch.arange(10).split(4)
    for part in parts:
        differentiate(engine, part, 10)
        alone.append(gradients_of(engine))
    sums = {name: sum(of[name] for of in alone) for name in alone[0]}
    for index, part in enumerate(parts):
        differentiate(engine, part, 10, add=index > 0)
    torch.testing.assert_close(gradients_of(engine), sums, **ROUNDING)
    if not rate:  # whose masks would be others
        whole = engine_of([network], [table])
        differentiate(whole)
        torch.testing.assert_close(gradients_of(whole), sums, **ROUNDING)


def test_buffers_can_be_used_again():
    """What an earlier batch has left in them is without effect."""
    network, table = random_network("multiclass", nn.ReLU, rate=0.4), table_of("multiclass", 10)
    engine, found = engine_of([network], [table], batch_size=5), []
    for start in (0, 5, 0):
        differentiate(engine, torch.arange(start, start + 5))
        found.append(gradients_of(engine))
    first, second, again = found
    torch.testing.assert_close(again, first, rtol=0, atol=0)
    assert not torch.equal(first["layers.0.weight"], second["layers.0.weight"])


def test_the_workspace_holds_activations_and_gradients():
    """The engine looks at it alone to see whether a step is finite."""
    engine = engine_of([random_network("multiclass", nn.ReLU)], [table_of("multiclass", 5)])
    differentiate(engine)
    layers = engine.filler.last.layers
    parts = [layers.outputs, layers.output_gradients]
    for hidden in layers.hidden:
        parts += [hidden.activations, hidden.gradients]
    expected = torch.cat([part.reshape(-1) for part in parts])
    assert len(layers.workspace) == len(expected) == 5 * 2 * (4 + 5 + 4)
    assert torch.equal(layers.workspace.sort().values, expected.sort().values)
    where = layers.workspace.untyped_storage().data_ptr()
    assert all(part.untyped_storage().data_ptr() == where for part in parts)


def test_alpha_dropout_is_differentiated_and_keeps_its_masks_among_others():
    table = table_of("multiclass", 7)
    networks = [random_network("multiclass", nn.SELU, True, rate, 1, AlphaDropout) for rate in (0.2, 0.5)]
    for network in networks:
        alone = engine_of([network], [table])
        outputs = differentiate(alone)
        found = gradients_of(alone)
        torch.testing.assert_close(found, central_differences(alone), **CLOSE)
        seed_dropout(alone.dropout[0], 0, 0, 0)
        forward = network.train().layers(table.splits["train"].inputs)
        torch.testing.assert_close(outputs, forward.detach().mT, **ROUNDING)
        network.eval()
    again = [random_network("multiclass", nn.SELU, True, rate, 1, AlphaDropout) for rate in (0.2, 0.5)]
    together = engine_of(again, [table, table])
    outputs = differentiate(together)
    for run, network in enumerate(networks):
        expected = differentiate(engine_of([network], [table]), first=run)
        torch.testing.assert_close(outputs[run], expected, **ROUNDING)


def test_alpha_dropout_is_torchs():
    """Masks are drawn otherwise, so units of one value are compared: they become one of two values."""
    units, rate = torch.full((50, 40), 0.7, dtype=torch.float64), 0.25
    layer = AlphaDropout(rate, "cpu").train()
    values, expected = (torch.unique(each(units)) for each in (layer, nn.AlphaDropout(rate).train()))
    torch.testing.assert_close(values, expected, **ROUNDING)
    units = numbers(2000, 50)
    assert abs(float(layer(units).mean())) < 0.03 and abs(float(layer(units).var()) - 1) < 0.03
    assert torch.equal(layer.eval()(units), units)


# -------------------------------------------------------------------------------- several networks


@pytest.mark.sampled(12)
@pytest.mark.parametrize(("activation", "task", "bias", "rate"), NETWORKS, ids=shown)
def test_three_networks_at_once_are_three_networks(activation, task, bias, rate):
    def networks():
        return [random_network(task, activation, bias, rate, seed) for seed in range(3)]

    of_each = [table_of(task, 6, seed) for seed in range(3)]
    for tables in (of_each, of_each[:1] * 3):  # rows of their own, or the same ones
        together = engine_of(networks(), tables)
        for add in (False, True):  # and adding once more doubles them
            outputs = differentiate(together, add=add)
            for run, network in enumerate(networks()):
                alone = engine_of([network], [tables[run]])
                torch.testing.assert_close(outputs[run], differentiate(alone, first=run), **ROUNDING)
                times = 2 if add else 1
                expected = {name: times * slopes for name, slopes in gradients_of(alone).items()}
                torch.testing.assert_close(gradients_of(together, run), expected, **ROUNDING)


def small_engine(runs):
    """Return an engine of networks with 12 + 4 + 4 values, and copies of these."""
    networks = []
    for seed in range(runs):
        layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1, bias=False))
        for index, parameter in enumerate(layers.parameters()):
            parameter.data = numbers(*parameter.shape, seed=10 * seed + index)
        networks.append(Network(layers, None, None))
    kept = [nn.utils.parameters_to_vector(of.parameters()).detach().clone() for of in networks]
    return engine_of(networks, [table_of("binary", 5)] * runs), networks, kept


def test_flat_buffers_are_the_networks_parameters():
    engine, networks, kept = small_engine(3)
    flat = engine.parameters
    rows = [view.reshape(3, -1) for view in flat.views(flat.values).values()]
    assert torch.equal(torch.cat(rows, dim=1), torch.stack(kept))
    assert all(view.is_contiguous() for view in flat.views(flat.values).values())
    assert engine.gradients.shape == (3 * (4 * 3 + 4 + 4),) and not engine.gradients.any()
    for values in rows:
        values[1].mul_(2)
    flat.views(flat.values)["layers.0.bias"][2, 3] = 77
    for index, network in enumerate(networks):
        expected = kept[index] * (2 if index == 1 else 1)
        if index == 2:
            expected[4 * 3 + 3] = 77
        assert torch.equal(nn.utils.parameters_to_vector(network.parameters()), expected)


@pytest.mark.parametrize("runs", [1, 2])
def test_views_have_the_shapes_and_the_order_of_the_parameters(runs):
    engine, _, _ = small_engine(runs)
    engine.gradients.copy_(torch.arange(runs * 20.0))
    views = engine.parameters.views(engine.gradients)
    front = (2,) if runs == 2 else ()  # one run has no axis
    assert {name: tuple(view.shape) for name, view in views.items()} == {
        "layers.0.weight": (*front, 4, 3),
        "layers.0.bias": (*front, 4),
        "layers.2.weight": (*front, 1, 4),
    }
    last = [engine.parameters.of_run(engine.gradients, runs - 1)[name].flatten()[0].item() for name in views]
    assert last == ([0, 12, 16] if runs == 1 else [12, 24 + 4, 32 + 4])
    where = engine.gradients.untyped_storage().data_ptr()
    assert all(view.untyped_storage().data_ptr() == where for view in views.values())


def test_the_layer_that_stands_in_the_way_is_named():
    good = [nn.Linear(2, 3), *(kind() for kind in ACTIVATIONS), Dropout(0.1, "cpu"), nn.Linear(3, 1)]
    assert unsupported_layer(nn.Sequential(*good)) is None
    assert unsupported_layer(nn.Sequential(*good[:3], nn.Softsign(), nn.LayerNorm(3), good[-1])) == "Softsign"
