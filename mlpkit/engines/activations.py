"""Activations and their derivatives, in place, as backpropagation by hand wants them.

Torch's own kernels do both; they are called by name because `out=` and `grad_input=` are not in its
Python functions. Each derivative is that of the torch class that it stands beside.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

aten = torch.ops.aten


@dataclass(frozen=True)
class Activation:
    """A function f between two layers.

    Attributes:
        apply: (sums z, units) -> None; units := f(z).
        derive: (delta, kept) -> None; delta := delta ⊙ f'(z), from z or from f(z).
        keeps_sums: whether `derive` needs z; else units may lie where the sums were, and it takes f(z).
    """

    apply: Callable[[Tensor, Tensor], object]
    derive: Callable[[Tensor, Tensor], object]
    keeps_sums: bool = False


IDENTITY = Activation(lambda z, units: None, lambda delta, units: None)
_SLOPE = nn.LeakyReLU().negative_slope

ACTIVATIONS: dict[type[nn.Module], Activation] = {
    nn.ReLU: Activation(
        lambda z, units: torch.relu_(z),
        lambda delta, units: aten.threshold_backward.grad_input(delta, units, 0, grad_input=delta),
    ),
    nn.LeakyReLU: Activation(
        lambda z, units: aten.leaky_relu_(z, _SLOPE),
        lambda delta, units: aten.leaky_relu_backward.grad_input(
            delta, units, _SLOPE, True, grad_input=delta
        ),
    ),
    nn.ELU: Activation(
        lambda z, units: aten.elu_(z),
        lambda delta, units: aten.elu_backward.grad_input(delta, 1, 1, 1, True, units, grad_input=delta),
    ),
    nn.GELU: Activation(
        lambda z, units: aten.gelu.out(z, out=units),
        lambda delta, z: aten.gelu_backward.grad_input(delta, z, grad_input=delta),
        keeps_sums=True,
    ),
    nn.SiLU: Activation(
        lambda z, units: aten.silu.out(z, out=units),
        lambda delta, z: aten.silu_backward.grad_input(delta, z, grad_input=delta),
        keeps_sums=True,
    ),
    nn.Tanh: Activation(
        lambda z, units: torch.tanh_(z),
        lambda delta, units: aten.tanh_backward.grad_input(delta, units, grad_input=delta),
    ),
    nn.Sigmoid: Activation(
        lambda z, units: torch.sigmoid_(z),
        lambda delta, units: aten.sigmoid_backward.grad_input(delta, units, grad_input=delta),
    ),
    nn.Identity: IDENTITY,
}
