"""Backpropagation through the layers of members that share their weights (TabM), by hand.

As in `mlpkit.engines.backpropagation`, examples are columns, and every shape may have a leading axis K. The
members of a network are further examples: M members and n rows have M · n columns, those of the first member
first. So the linear layers between are ordinary ones with one weight, whose gradient is the sum over all
members. The loss is the mean of the members' losses, so that each column of δ_L is divided by M as well.

**Inputs.** Member m gets the inputs x (features, n) times its factors r_m (features, 1), a_m = r_m ⊙ x. With
the gradient δ_m of a_m, ∂loss/∂r_m = Σ_rows δ_m ⊙ x and ∂loss/∂x = Σ_m δ_m ⊙ r_m. They are in
`mlpkit.engines.input_layers`.

**Scale.** Of units z_m, with factors s_m and a bias b_m (width, 1),

    y_m = s_m ⊙ z_m + b_m                        (width, n)

and with g_m = ∂loss/∂y_m

    ∂loss/∂s_m = Σ_rows g_m ⊙ z_m       ∂loss/∂b_m = Σ_rows g_m       ∂loss/∂z_m = g_m ⊙ s_m

**Outputs.** The last layer is a linear one of each member's own, with weights (M, targets, width).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mlpkit.engines.matmul import Matmul
from mlpkit.engines.operations import Operations


@dataclass(frozen=True)
class MemberScale:
    """Factors and a bias of each member. For one network there is no axis K.

    Attributes:
        scale: s (K, width, M, 1).
        scale_gradient: the gradient of the mean loss with respect to s; written by the backward pass.
        bias: b, likewise; None without.
        bias_gradient: the same for b.
    """

    scale: Tensor
    scale_gradient: Tensor
    bias: Tensor | None = None
    bias_gradient: Tensor | None = None

    def in_training(self, like: Tensor) -> "MemberScalePass":
        """Return the buffers of both passes; `like` is (K, width, M · n)."""
        return MemberScalePass(self, like)

    def scores(self, z: Tensor, out: Tensor) -> Operations:
        """Return the operation that writes y to `out` (K, width, M · n), which may be z itself."""
        own, into = self.of_members(z), self.of_members(out)
        if self.bias is None:
            return [partial(torch.mul, own, self.scale, out=into)]
        return [partial(torch.addcmul, self.bias, own, self.scale, out=into)]

    def of_members(self, columns: Tensor) -> Tensor:
        """Return a view (K, width, M, n) of columns (K, width, M · n)."""
        return columns.view(*columns.shape[:-1], self.scale.shape[-2], -1)


class MemberScalePass:
    """The forward and backward pass of a `MemberScale`, for a fixed number of examples.

    Attributes:
        inputs: (K, width, M · n): z, written by the layer before.
    """

    def __init__(self, layer: MemberScale, like: Tensor) -> None:
        """Allocate the buffers; see `MemberScale.in_training`."""
        self.layer, self.inputs, self._products = layer, torch.empty_like(like), torch.empty_like(like)
        self._product, self._sum = torch.empty_like(layer.scale), torch.empty_like(layer.scale)

    def forward(self, out: Tensor) -> Operations:
        """Return the operation that writes y to `out`."""
        return self.layer.scores(self.inputs, out)

    def backward(self, gradients: Tensor) -> Operations:
        """Return the operations that change ∂loss/∂y to ∂loss/∂z in `gradients`."""
        own, products = self.layer.of_members(gradients), self.layer.of_members(self._products)
        sums = [partial(torch.sum, own, -1, keepdim=True, out=self._sum)]
        return [
            partial(torch.mul, gradients, self.inputs, out=self._products),
            partial(torch.sum, products, -1, keepdim=True, out=self._product),
            *([] if self.layer.bias is None else sums),
            partial(own.mul_, self.layer.scale),
        ]

    def parameter_gradients(self, add: bool) -> Operations:
        """Return the operations that write, or add, the gradients of the factors and the biases."""
        pairs = (self.layer.scale_gradient, self._product), (self.layer.bias_gradient, self._sum)
        return [partial(into.add_ if add else into.copy_, found) for into, found in pairs if into is not None]


def member_scale_of(
    prefix: str, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
) -> MemberScale:
    """Return a scale with views of its tensors, which are named with a prefix such as "layers.1."."""
    views = [
        of[f"{prefix}{name}"].mT[..., None] if f"{prefix}{name}" in of else None
        for name in ("scale", "bias")
        for of in (weights, gradients)
    ]
    scale, scale_gradient, bias, bias_gradient = views
    assert scale is not None and scale_gradient is not None
    return MemberScale(scale, scale_gradient, bias, bias_gradient)


def member_products(
    matmul: Matmul, left: Tensor, right: Tensor, out: Tensor, base: Tensor | None = None
) -> Operations:
    """Return the operations that write base + left @ right to `out`, all (K, M, …, …).

    The runs are multiplied one after another, since the axes K and M of activations lie apart in memory.
    """
    tensors = (left, right, out) if base is None else (left, right, out, base)
    runs = [tensors] if left.dim() == 3 else zip(*(tensor.unbind() for tensor in tensors), strict=True)
    return [operation for of_run in runs for operation in matmul.product(*of_run)]


def by_member(columns: Tensor, members: int) -> Tensor:
    """Return a view (K, M, width, n) of columns (K, width, M · n)."""
    return columns.view(*columns.shape[:-1], members, -1).transpose(-3, -2)
