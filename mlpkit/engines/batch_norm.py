"""Batch norm of K networks, by hand (Ioffe, Szegedy 2015; the gradients are in their section 3).

Examples are columns, as in `mlpkit.engines.backpropagation`. With means over the n examples of a batch,

    x̂ = (z - mean(z)) / √(mean((z - mean(z))²) + eps)          (width, n)
    y = γ x̂ + β                                                γ, β (width, 1)

and with g = ∂loss/∂y

    ∂loss/∂γ = Σ_examples g x̂        ∂loss/∂β = Σ_examples g
    ∂loss/∂z = γ / √(variance + eps) · (g - mean(g) - x̂ mean(g x̂))

Evaluation takes the running mean and variance instead of those of the batch. As in torch, the running
variance is the unbiased one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from mlpkit.engines.operations import Operations


@dataclass(frozen=True)
class BatchNorm:
    """A batch norm layer. For one network there is no axis K.

    Attributes:
        weight: γ (K, width, 1).
        bias: β, likewise.
        weight_gradient: the gradient of the mean loss with respect to γ; written by the backward pass.
        bias_gradient: the same for β.
        mean: the running mean, likewise.
        variance: the running variance, likewise.
        tracked: (K,), the number of batches so far.
        momentum: how far the running statistics move towards those of a batch.
        eps: added to the variance.
    """

    weight: Tensor
    bias: Tensor
    weight_gradient: Tensor
    bias_gradient: Tensor
    mean: Tensor
    variance: Tensor
    tracked: Tensor
    momentum: float
    eps: float

    def in_training(self, like: Tensor) -> "BatchNormPass":
        """Return the buffers of both passes; `like` is (K, width, n)."""
        return BatchNormPass(self, like)

    def scores(self, z: Tensor, out: Tensor) -> Operations:
        """Return the operations that write y to `out`, by the running statistics."""
        scale, shift = torch.empty_like(self.weight), torch.empty_like(self.bias)
        return [
            partial(torch.add, self.variance, self.eps, out=scale),
            scale.rsqrt_,
            partial(scale.mul_, self.weight),
            partial(torch.addcmul, self.bias, self.mean, scale, value=-1, out=shift),
            partial(torch.addcmul, shift, z, scale, out=out),
        ]


class BatchNormPass:
    """The forward and backward pass of a layer in training, for a fixed number of examples.

    Attributes:
        inputs: (K, width, n): the linear layer writes z here, and `forward` makes it x̂.
    """

    def __init__(self, layer: BatchNorm, like: Tensor) -> None:
        """Allocate the buffers; `like` is (K, width, n)."""
        self.layer, self.examples = layer, like.shape[-1]
        self.inputs, self._products = torch.empty_like(like), torch.empty_like(like)
        columns = (torch.empty_like(layer.weight) for _ in range(5))
        self._mean, self._variance, self._scale, self._sum, self._product = columns

    def forward(self, out: Tensor) -> Operations:
        """Return the operations that compute x̂ and write y to `out`, and update the running statistics."""
        layer, normed, mean, variance, scale = (
            self.layer,
            self.inputs,
            self._mean,
            self._variance,
            self._scale,
        )
        unbiased = self.examples / max(self.examples - 1, 1)
        return [
            partial(torch.mean, normed, -1, keepdim=True, out=mean),
            partial(normed.sub_, mean),
            partial(torch.mul, normed, normed, out=self._products),
            partial(torch.mean, self._products, -1, keepdim=True, out=variance),
            partial(torch.add, variance, layer.eps, out=scale),
            scale.rsqrt_,
            partial(normed.mul_, scale),
            partial(torch.addcmul, layer.bias, normed, layer.weight, out=out),
            partial(layer.mean.lerp_, mean, layer.momentum),
            partial(variance.mul_, unbiased),
            partial(layer.variance.lerp_, variance, layer.momentum),
            partial(layer.tracked.add_, 1),
        ]

    def backward(self, gradients: Tensor) -> Operations:
        """Return the operations that change ∂loss/∂y to ∂loss/∂z in `gradients`."""
        share = -1 / self.examples
        return [
            partial(torch.sum, gradients, -1, keepdim=True, out=self._sum),
            partial(torch.mul, gradients, self.inputs, out=self._products),
            partial(torch.sum, self._products, -1, keepdim=True, out=self._product),
            partial(gradients.addcmul_, self.inputs, self._product, value=share),
            partial(gradients.add_, self._sum, alpha=share),
            partial(self._scale.mul_, self.layer.weight),
            partial(gradients.mul_, self._scale),
        ]

    def parameter_gradients(self, add: bool) -> Operations:
        """Return the operations that write, or add, the gradients of γ and β."""
        weight, bias = self.layer.weight_gradient, self.layer.bias_gradient
        if add:
            return [partial(weight.add_, self._product), partial(bias.add_, self._sum)]
        return [partial(weight.copy_, self._product), partial(bias.copy_, self._sum)]


def batch_norm_of(
    module: nn.BatchNorm1d,
    prefix: str,
    weights: Mapping[str, Tensor],
    gradients: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
) -> BatchNorm:
    """Return a batch norm with views of its tensors, which are named with a prefix such as "layers.1."."""
    views = (weights, weights, gradients, gradients, buffers, buffers)
    names = ("weight", "bias", "weight", "bias", "running_mean", "running_var")
    weight, bias, *others = (of[f"{prefix}{name}"][..., None] for of, name in zip(views, names, strict=True))
    weight_gradient, bias_gradient, mean, variance = others
    assert module.momentum is not None  # see `is_usual_norm`
    tracked = buffers[f"{prefix}num_batches_tracked"]
    return BatchNorm(
        weight, bias, weight_gradient, bias_gradient, mean, variance, tracked, module.momentum, module.eps
    )


def is_usual_norm(layer: nn.Module) -> bool:
    """Whether a layer is a batch norm with weights, biases, and running statistics with a momentum."""
    return (
        isinstance(layer, nn.BatchNorm1d)
        and layer.affine
        and layer.track_running_stats
        and layer.momentum is not None
    )
