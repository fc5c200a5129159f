"""Gradients by hand are those of central differences; several networks at once are the same as each alone."""

from itertools import pairwise

import pytest
import torch
from mlpkit.engines.chunk import Chunk
from mlpkit.engines.flat import Flat
from torch import nn

from mlpkit.engines.activations import ACTIVATIONS
from mlpkit.engines.backpropagation import Layer, Pass, obstacle
from mlpkit.matmul import EXACT
from mlpkit.models.dropout import Dropout, seed_dropout
from mlpkit.program import carry_out
from mlpkit.tasks import TASKS

STEP = 1e-5  # to each side; the difference's own error, rounding / STEP and STEP² f''', is least about here
CLOSE = {"rtol": 1e-7, "atol": 1e-8}
ROUNDING = {"rtol": 1e-12, "atol": 1e-13}  # of a float64, for sums in another order

FEATURES, HIDDEN = 3, (4, 5)
WIDTHS = {"regression": 3, "binary": 1, "multiclass": 4}  # of the outputs


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def targets_of(task, rows, seed=0):
    """Return encoded targets."""
    width = WIDTHS[task]
    if task == "regression":
        return numbers(rows, width, seed=seed + 50)
    labels = torch.arange(seed, seed + rows) % max(2, width)
    return TASKS[task].encode(labels, torch.float64)


class Stack:
    """Layers of random weights, for one network or for K at once, and where their gradients go.

    The networks are counted from `first`, which their masks depend on.
    """

    def __init__(self, width, activation, bias=True, rate=0.0, networks=None, first=0):
        front = () if networks is None else (networks,)
        widths = (FEATURES, *HIDDEN, width)
        self.first, self.weights, self.gradients, self.layers = first, [], [], []
        self.dropouts = [[Dropout(rate, "cpu") for _ in HIDDEN] for _ in range(networks or 1)]
        for index, (below, above) in enumerate(pairwise(widths)):
            parts = [numbers(*front, above, below, seed=index)]
            if bias:
                parts.append(numbers(*front, above, 1, seed=index + 10))
            into = [torch.full_like(part, float("nan")) for part in parts]  # to be written over
            hidden = index < len(HIDDEN)
            self.layers.append(
                Layer(
                    parts[0],
                    parts[1] if bias else None,
                    into[0],
                    into[1] if bias else None,
                    ACTIVATIONS[activation] if hidden else None,
                    tuple(of[index] for of in self.dropouts) if hidden and rate else (),
                )
            )
            self.weights += parts
            self.gradients += into

    def seed(self):
        """Make the masks those of before, for each network others."""
        for network, layers in enumerate(self.dropouts):
            seed_dropout([layer.random for layer in layers], self.first + network, 0, 0)


def differentiate(stack, layers, task, inputs, targets, count, add=False):
    """Go up and down as the engine does, for the mean over `count` rows; return outputs (…, rows, width)."""
    task = TASKS[task]
    width = layers.outputs.shape[-2]
    expected = torch.stack([task.expected(part, width, torch.float64) for part in targets])
    chunk = Chunk(
        layers, task, inputs, expected if layers.outputs.dim() == 3 else expected[0], (), whole=True
    )
    stack.seed()
    carry_out(chunk.program(count, add))
    return chunk.outputs.clone()


def mean_loss(stack, layers, task, inputs, targets):
    stack.seed()
    carry_out(layers.up(inputs))
    return TASKS[task].loss(layers.outputs.mT, targets).mean().item()


def central_differences(stack, layers, task, inputs, targets):
    found = []
    for values in stack.weights:
        slopes, flat = torch.empty_like(values), values.view(-1)
        for index in range(len(flat)):
            kept, sides = flat[index].item(), []
            for side in (STEP, -STEP):
                flat[index] = kept + side
                sides.append(mean_loss(stack, layers, task, inputs, targets))
            flat[index] = kept
            slopes.view(-1)[index] = (sides[0] - sides[1]) / (2 * STEP)
        found.append(slopes)
    return found


@pytest.mark.parametrize("rate", [0.0, 0.4])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("task", WIDTHS)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda kind: kind.__name__)
def test_gradients_are_central_differences(activation, task, bias, rate):
    for rows in (1, 2, 7):
        stack = Stack(WIDTHS[task], activation, bias, rate)
        layers, inputs = Pass(stack.layers, rows, EXACT), numbers(rows, FEATURES, seed=9)
        targets = targets_of(task, rows)
        differentiate(stack, layers, task, inputs, [targets], rows)
        found = [gradient.clone() for gradient in stack.gradients]
        torch.testing.assert_close(found, central_differences(stack, layers, task, inputs, targets), **CLOSE)
        if rows == 7:
            assert max(float(gradient.abs().max()) for gradient in found) > 0.01


@pytest.mark.parametrize("task", WIDTHS)
def test_the_gradient_of_a_loss_in_its_outputs(task):
    """It is slope · residual, for outputs of any size, where a sigmoid or a softmax is nearly flat too."""
    outputs = numbers(50, WIDTHS[task]) * torch.logspace(-3, 1.5, 50, dtype=torch.float64)[:, None]
    outputs.requires_grad_()
    targets, width, about = targets_of(task, 50), WIDTHS[task], TASKS[task]
    (expected,) = torch.autograd.grad(about.loss(outputs, targets).sum(), outputs)
    delta = torch.empty_like(outputs.detach())
    about.residual(outputs.detach().mT, about.expected(targets, width, torch.float64).mT, delta.mT)
    torch.testing.assert_close(delta * about.slope(width), expected, **ROUNDING)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda kind: kind.__name__)
def test_an_activation_and_its_derivative_are_those_of_torchs_class(activation):
    z = torch.cat((torch.linspace(-40, 40, 801), torch.tensor([0.0, -0.0, 1e-8, -1e-8]))).double()
    z.requires_grad_()
    expected = activation()(z)
    (slopes,) = torch.autograd.grad(expected.sum(), z)
    by_hand, units, delta = ACTIVATIONS[activation], z.detach().clone(), torch.ones_like(z.detach())
    into = torch.empty_like(units) if by_hand.keeps_sums else units
    by_hand.apply(units, into)
    torch.testing.assert_close(into, expected.detach(), **ROUNDING)
    by_hand.derive(delta, units if by_hand.keeps_sums else into)
    torch.testing.assert_close(delta, slopes, **ROUNDING)


@pytest.mark.parametrize("rate", [0.0, 0.4])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_add_up(bias, rate):
    """Those of three batches of a step, each divided by all of the step's rows, are that of the mean."""
    sizes, total = (4, 4, 2), 10
    stack = Stack(4, nn.Tanh, bias, rate)
    inputs, targets = numbers(total, 3, seed=9), targets_of("multiclass", total)
    alone = []
    for index, part in enumerate(torch.arange(total).split(4)):
        layers = Pass(stack.layers, sizes[index], EXACT)
        differentiate(stack, layers, "multiclass", inputs[part], [targets[part]], total)
        alone.append([gradient.clone() for gradient in stack.gradients])
    sums = [sum(parts) for parts in zip(*alone, strict=True)]
    for index, part in enumerate(torch.arange(total).split(4)):
        layers = Pass(stack.layers, sizes[index], EXACT)
        differentiate(stack, layers, "multiclass", inputs[part], [targets[part]], total, add=index > 0)
    torch.testing.assert_close(stack.gradients, sums, **ROUNDING)
    if not rate:  # whose masks would be others
        layers = Pass(stack.layers, total, EXACT)
        differentiate(stack, layers, "multiclass", inputs, [targets], total)
        torch.testing.assert_close(stack.gradients, sums, **ROUNDING)


def test_buffers_can_be_used_again():
    """What an earlier batch has left in them is without effect."""
    stack = Stack(4, nn.ReLU, rate=0.4)
    layers, found = Pass(stack.layers, 5, EXACT), []
    for seed in (1, 2, 1):
        differentiate(stack, layers, "multiclass", numbers(5, 3, seed=seed), [targets_of("multiclass", 5)], 5)
        found.append([gradient.clone() for gradient in stack.gradients])
    first, second, again = found
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not torch.equal(first[0], second[0])


def test_the_workspace_holds_outputs_units_and_deltas():
    """The engine looks at it alone to see whether a step is finite."""
    stack = Stack(4, nn.ReLU)
    layers = Pass(stack.layers, 5, EXACT)
    differentiate(stack, layers, "multiclass", numbers(5, 3), [targets_of("multiclass", 5)], 5)
    parts = [layers.outputs, layers.delta]
    for hidden in layers.hidden:
        parts += [hidden.units, hidden.delta]
    expected = torch.cat([part.reshape(-1) for part in parts])
    assert len(layers.workspace) == len(expected) == 5 * 2 * (4 + 5 + 4)
    assert torch.equal(layers.workspace.sort().values, expected.sort().values)
    where = layers.workspace.untyped_storage().data_ptr()
    assert all(part.untyped_storage().data_ptr() == where for part in parts)


# -------------------------------------------------------------------------------- several networks


@pytest.mark.parametrize("rate", [0.0, 0.4])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("task", WIDTHS)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda kind: kind.__name__)
def test_three_networks_at_once_are_three_networks(activation, task, bias, rate):
    together = Stack(WIDTHS[task], activation, bias, rate, networks=3)
    inputs, targets = numbers(3, 6, FEATURES, seed=9), [targets_of(task, 6, seed) for seed in range(3)]
    layers = Pass(together.layers, 6, EXACT)
    for add in (False, True):  # and adding once more doubles them
        outputs = differentiate(together, layers, task, inputs, targets, 6, add)
        for index in range(3):
            alone = Stack(WIDTHS[task], activation, bias, rate, first=index)
            for values, of_all in zip(alone.weights, together.weights, strict=True):
                values.copy_(of_all[index])
            lone = Pass(alone.layers, 6, EXACT)
            found = differentiate(alone, lone, task, inputs[index], targets[index : index + 1], 6)
            torch.testing.assert_close(outputs[index], found, **ROUNDING)
            times = 2 if add else 1
            torch.testing.assert_close(
                [gradient[index] for gradient in together.gradients],
                [times * gradient for gradient in alone.gradients],
                **ROUNDING,
            )


def small_network(seed):
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2, bias=False))
    for index, parameter in enumerate(network.parameters()):
        parameter.data = numbers(*parameter.shape, seed=seed + index)
    return network


def test_flat_buffers_are_the_networks_parameters():
    networks = [small_network(seed) for seed in (0, 10, 20)]
    kept = [nn.utils.parameters_to_vector(network.parameters()).detach().clone() for network in networks]
    flat = Flat(networks)
    rows = [view.reshape(3, -1) for view in flat.views(flat.values).values()]
    assert torch.equal(torch.cat(rows, dim=1), torch.stack(kept))
    assert all(view.is_contiguous() for view in flat.views(flat.values).values())
    assert flat.gradients.shape == (3 * (4 * 3 + 4 + 2 * 4),) and not flat.gradients.any()
    for values in rows:
        values[1].mul_(2)
    flat.views(flat.values)["0.bias"][2, 3] = 77
    for index, network in enumerate(networks):
        expected = kept[index] * (2 if index == 1 else 1)
        if index == 2:
            expected[4 * 3 + 3] = 77
        assert torch.equal(nn.utils.parameters_to_vector(network.parameters()), expected)


def test_views_have_the_shapes_and_the_order_of_the_parameters():
    flat = Flat([small_network(0), small_network(10)])
    flat.gradients.copy_(torch.arange(48.0))
    views = flat.views(flat.gradients)
    assert {name: tuple(view.shape) for name, view in views.items()} == {
        "0.weight": (2, 4, 3),
        "0.bias": (2, 4),
        "2.weight": (2, 2, 4),
    }
    assert [view[1].flatten()[0].item() for view in views.values()] == [12, 24 + 4, 32 + 8]
    where = flat.gradients.untyped_storage().data_ptr()
    assert all(view.untyped_storage().data_ptr() == where for view in views.values())


def test_the_layer_that_stands_in_the_way_is_named():
    good = [nn.Linear(2, 3), *(kind() for kind in ACTIVATIONS), Dropout(0.1, "cpu"), nn.Linear(3, 1)]
    assert obstacle(nn.Sequential(*good)) is None
    assert obstacle(nn.Sequential(*good[:3], nn.Softplus(), nn.LayerNorm(3), good[-1])) == "Softplus"
