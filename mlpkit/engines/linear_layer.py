"""A linear layer with what follows it, and its buffers for a fixed number of examples.

The formulas are in `mlpkit.engines.backpropagation`.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mlpkit.config.activation import IDENTITY, InPlace
from mlpkit.engines.batch_norm import BatchNorm
from mlpkit.engines.member_layers import MemberScale
from mlpkit.engines.operations import Operations
from mlpkit.engines.prelu import Slope
from mlpkit.models.torch_layers import SELU_LIMIT, AlphaDropout, Dropout


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer with its batch norm, activation and dropout. For one network there is no axis K.

    Attributes:
        weight: (K, out_features, in_features).
        bias: (K, out_features, 1), or None.
        weight_gradient: the gradient of the mean loss, shaped like `weight`; written by the backward pass.
        bias_gradient: the same for `bias`.
        activation: None for the last layer, and with a slope.
        slope: of a PReLU, which is then the activation; None without.
        dropout: one layer for each network; empty without dropout.
        widths: each network's width before narrower networks are padded with zeros.
        norm: the batch norm or the members' scale before the activation; None without.
        factor: the members' scale of the activations, after dropout; None without.
        members: M, if it is the last layer of members that share the others: its weights are (K, M, …, …).
    """

    weight: Tensor
    bias: Tensor | None
    weight_gradient: Tensor
    bias_gradient: Tensor | None
    activation: InPlace | None = None
    slope: Slope | None = None
    dropout: tuple[Dropout, ...] = ()
    widths: tuple[int, ...] = ()
    norm: BatchNorm | MemberScale | None = None
    factor: MemberScale | None = None
    members: int = 0


class Hidden:
    """A hidden layer's buffers for a fixed number of examples: a_l in `activations`, δ_l in `gradients`."""

    def __init__(
        self, layer: LinearLayer, activations: Tensor, gradients: Tensor, scores: bool = False
    ) -> None:
        """Use two given buffers (K, width, n); allocate those that only some layers need."""
        self.activations, self.gradients, self.dropout = activations, gradients, layer.dropout
        self.widths = layer.widths or (activations.shape[-2],) * len(layer.dropout)
        self.slope = None if layer.slope is None else layer.slope.in_training(activations)
        self.function = (layer.activation or IDENTITY) if self.slope is None else self.slope.in_place()
        # What factors are multiplied with, f(z) and f(z) ⊙ m need a buffer each. If f' needs z, f(z) cannot
        # overwrite it.
        self.factor = layer.factor.in_training(activations) if layer.factor and not scores else None
        self.dropped = activations if self.factor is None else self.factor.inputs  # f(z) ⊙ m
        self.mask = torch.zeros_like(activations) if layer.dropout else None
        self.activated = self.dropped if self.mask is None else torch.empty_like(activations)  # f(z)
        keeps_z = self.function.needs_pre_activations
        self.pre_activations = torch.empty_like(activations) if keeps_z else self.activated  # z
        self.norm = layer.norm.in_training(activations) if layer.norm and not scores else None
        self.of_scores = (layer.norm, layer.factor) if scores else (None, None)  # in evaluation
        # What the linear layer writes: z, or what becomes z by the norm.
        self.linear = self.pre_activations if self.norm is None else self.norm.inputs

    def forward(self) -> Operations:
        """Return the operations that compute a_l from what the linear layer has written."""
        operations: Operations = [partial(self.function.apply, self.pre_activations, self.activated)]
        if self.norm is not None:
            operations = [*self.norm.forward(self.pre_activations), *operations]
        elif self.of_scores[0] is not None:
            operations = [*self.of_scores[0].scores(self.linear, self.pre_activations), *operations]
        if self.mask is not None:
            # Each network draws its own mask, so that it is the same whether trained alone or among K.
            masks = self.mask if self.mask.dim() == 3 else (self.mask,)
            for mask, dropout, width in zip(masks, self.dropout, self.widths, strict=True):
                operations += dropout.draw(mask[:width])
            operations += self._drop(self.mask)
        if self.factor is not None:
            operations += self.factor.forward(self.activations)
        elif self.of_scores[1] is not None:
            operations += self.of_scores[1].scores(self.activations, self.activations)
        return operations

    def _drop(self, mask: Tensor) -> Operations:
        """Return the operations that compute f(z) ⊙ m; of alpha dropout (f(z) - v) ⊙ m + shift."""
        if not isinstance(self.dropout[0], AlphaDropout):
            return [partial(torch.mul, self.activated, mask, out=self.dropped)]
        shifts = [dropout.shift for dropout in self.dropout if isinstance(dropout, AlphaDropout)]
        shift = mask.new_tensor(shifts).view(-1, *[1] * (mask.dim() - 1))
        return [
            partial(torch.sub, self.activated, SELU_LIMIT, out=self.dropped),
            partial(self.dropped.mul_, mask),
            partial(self.dropped.add_, shift),
        ]

    def backward(self) -> Operations:
        """Return the operations that compute δ_l from ∂loss/∂a_l, which is already in `gradients`."""
        kept = self.pre_activations if self.function.needs_pre_activations else self.activated
        operations: Operations = [] if self.factor is None else self.factor.backward(self.gradients)
        operations += [] if self.mask is None else [partial(self.gradients.mul_, self.mask)]
        operations.append(partial(self.function.derive, self.gradients, kept))
        return operations if self.norm is None else [*operations, *self.norm.backward(self.gradients)]

    def parameter_gradients(self, add: bool) -> Operations:
        """Return the operations that write, or add, the gradients of the layers after the linear one."""
        parts = [part for part in (self.norm, self.slope, self.factor) if part is not None]
        return [operation for part in parts for operation in part.parameter_gradients(add)]
