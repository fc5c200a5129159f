"""The activation PReLU by hand (He et al. 2015): its slope is a parameter.

As in `mlpkit.engines.backpropagation`, examples are columns. With the slope a of a layer,

    f(z) = max(z, 0) + a min(z, 0)               (width, n)

and with g = ∂loss/∂f(z)

    ∂loss/∂a = Σ_units,examples g ⊙ min(z, 0)
    ∂loss/∂z = g where z > 0, else a g
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mlpkit.config.activation import InPlace
from mlpkit.engines.operations import Operations


@dataclass(frozen=True)
class Slope:
    """The slope of a layer's PReLU. For one network there is no axis K.

    Attributes:
        values: a (K, 1, 1).
        gradient: the gradient of the mean loss with respect to a; written by the backward pass.
    """

    values: Tensor
    gradient: Tensor

    def in_training(self, like: Tensor) -> "SlopePass":
        """Return the buffers of both passes; `like` is (K, width, n)."""
        return SlopePass(self, like)


class SlopePass:
    """The forward and backward pass for a fixed number of examples."""

    def __init__(self, slope: Slope, like: Tensor) -> None:
        """Allocate the buffers; `like` is (K, width, n)."""
        self.slope, self._less = slope, torch.empty_like(slope.values)
        self._below, self._products = torch.empty_like(like), torch.empty_like(like)  # min(z, 0)
        self._sum = torch.empty_like(slope.values)

    def in_place(self) -> InPlace:
        """Return f and f'; `derive` computes the gradient of the slope as well."""
        return InPlace(self._apply, self._derive, needs_pre_activations=True)

    def parameter_gradients(self, add: bool) -> Operations:
        """Return the operation that writes, or adds, the gradient of the slope."""
        into = self.slope.gradient
        return [partial(into.add_ if add else into.copy_, self._sum)]

    def _apply(self, z: Tensor, activations: Tensor) -> None:
        torch.clamp(z, max=0, out=self._below)
        torch.mul(self._below, self.slope.values, out=self._products)
        torch.clamp(z, min=0, out=activations).add_(self._products)

    def _derive(self, gradients: Tensor, z: Tensor) -> None:
        torch.mul(gradients, self._below, out=self._products)
        torch.sum(self._products, (-2, -1), keepdim=True, out=self._sum)
        below = self._below.copy_(z).le_(0)  # 1 where the slope is a; g + (a - 1) g is a g there
        torch.mul(gradients, below, out=self._products)
        torch.sub(self.slope.values, 1, out=self._less)
        gradients.addcmul_(self._products, self._less)
