"""Backpropagation through the layers before the first linear one, by hand.

As in `mlpkit.engines.backpropagation`, examples are columns, and every shape may have a leading axis K.

**Periodic embedding.** For each number x (1, n) among the inputs, with F waves and the parameters f (F, 1),
φ (F, 1), W (width, F) and b (width, 1),

    θ = 2π f x + φ                               (F, n)       angles
    e = W cos θ + b                              (width, n)   values

The outputs are all inputs, and below them the values of each number. Write δ = ∂loss/∂e, a part of the
gradient of the outputs. Then

    ∂loss/∂W = δ cos θᵀ                          (width, F)
    ∂loss/∂b = Σ_examples δ                      (width, 1)
    τ = ∂loss/∂θ = -(Wᵀ δ) ⊙ sin θ               (F, n)
    ∂loss/∂φ = Σ_examples τ                      (F, 1)
    ∂loss/∂f = Σ_examples τ ⊙ 2π x               (F, 1)

Sine and cosine take most of the time: the forward pass computes both, the sine in place of the angles.

**Input scale.** For the inputs a (features, n) and a factor s (features, 1) for each, the outputs are s ⊙ a.
With their gradient δ, ∂loss/∂s = Σ_examples δ ⊙ a and ∂loss/∂a = δ ⊙ s.

**Members' inputs.** See `mlpkit.engines.member_layers`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mlpkit.engines.operations import Operations


@dataclass(frozen=True)
class InputLayer:
    """A layer before the first linear one. For one network there is no axis K.

    Attributes:
        parameters: (K, …) by name.
        gradients: of the mean loss, shaped like `parameters`; written by the backward pass.
        numbers: (N,) the places of the inputs that a periodic embedding embeds; None: it is another layer.
        members: M of the layer that gives each row to all members; 0: it is another layer.
    """

    parameters: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    numbers: Tensor | None = None
    members: int = 0

    def buffers(self, features: int, examples: int, scores: bool) -> "InputPass":
        """Return the buffers for a number of inputs and examples."""
        kind = EmbeddingPass if self.numbers is not None else MemberInputsPass if self.members else ScalePass
        return kind(self, features, examples, scores)


class EmbeddingPass:
    """The buffers of a periodic embedding for a fixed number of examples.

    Attributes:
        outputs: (K, features + N · width, n), written by `forward`.
        gradients: shaped like `outputs`; must be written before `parameter_gradients`.
    """

    def __init__(self, layer: InputLayer, features: int, examples: int, scores: bool) -> None:
        """Allocate the buffers; `scores` as in `Pass`."""
        self.layer, self.features, self.scores = layer, features, scores
        weight = layer.parameters["weight"]
        *networks, numbers, width, frequencies = weight.shape
        new = weight.new_empty
        self.outputs = new(*networks, features + numbers * width, examples)
        self.gradients = self.outputs if scores else torch.empty_like(self.outputs)
        self.turns = new(*networks, numbers, 1, examples)  # 2π x
        self.angles = new(*networks, numbers, frequencies, examples)  # then sin θ
        self.cosines = self.angles if scores else torch.empty_like(self.angles)
        self.values = new(*networks, numbers, width, examples)  # e, then δ

    def forward(self, previous: Tensor) -> Operations:
        """Return the operations that compute the outputs from inputs (K, features, n) or (features, n)."""
        assert self.layer.numbers is not None
        of, values = self.layer.parameters, self._added(self.outputs)
        return [
            partial(self.outputs[..., : self.features, :].copy_, previous),
            partial(torch.index_select, self.outputs, -2, self.layer.numbers, out=self.turns.squeeze(-2)),
            partial(self.turns.mul_, self.turns.new_tensor(2 * math.pi)),
            partial(torch.mul, of["frequency"][..., None], self.turns, out=self.angles),
            partial(self.angles.add_, of["phase"][..., None]),
            partial(torch.cos, self.angles, out=self.cosines),
            *([] if self.scores else [self.angles.sin_]),
            partial(
                torch.baddbmm,
                flat(of["bias"][..., None]),
                flat(of["weight"]),
                flat(self.cosines),
                out=flat(self.values),
            ),
            partial(values.copy_, self.values),
        ]

    def backward(self, into: Tensor) -> Operations:
        """Nothing: it is always the first layer."""
        raise NotImplementedError("an embedding reads the inputs")

    def parameter_gradients(self, previous: Tensor, add: bool) -> Operations:
        """Return the operations that compute the parameters' gradients, after both passes.

        Args:
            previous: the inputs of the forward pass.
            add: whether to add to the current gradients instead of overwriting them.
        """
        of, to = self.layer.parameters, self.layer.gradients
        delta, cosines, tau = flat(self.values), flat(self.cosines), self.cosines
        into = flat(to["weight"])
        product = partial(torch.baddbmm, into) if add else torch.bmm
        return [
            partial(self.values.copy_, self._added(self.gradients)),
            partial(product, delta, cosines.mT, out=into),
            summed(self.values, to["bias"], add),
            # The cosines are not needed any more: τ takes their place.
            partial(torch.baddbmm, cosines, flat(of["weight"]).mT, delta, beta=0, alpha=-1, out=cosines),
            partial(tau.mul_, self.angles),
            summed(tau, to["phase"], add),
            partial(tau.mul_, self.turns),
            summed(tau, to["frequency"], add),
        ]

    def _added(self, rows: Tensor) -> Tensor:
        """Return the rows after the inputs' own, (K, N, width, n)."""
        return rows[..., self.features :, :].view(self.values.shape)


class ScalePass:
    """The buffers of an input scale for a fixed number of examples; see `EmbeddingPass`."""

    def __init__(self, layer: InputLayer, features: int, examples: int, scores: bool) -> None:
        """Allocate the buffers."""
        self.layer = layer
        scale = layer.parameters["scale"]
        self.outputs = scale.new_empty(*scale.shape, examples)
        self.gradients = self.outputs if scores else torch.empty_like(self.outputs)
        self.products = self.gradients if scores else torch.empty_like(self.outputs)

    def forward(self, previous: Tensor) -> Operations:
        """See `EmbeddingPass.forward`."""
        return [partial(torch.mul, self.layer.parameters["scale"][..., None], previous, out=self.outputs)]

    def backward(self, into: Tensor) -> Operations:
        """Return the operation that computes the gradient of the inputs from that of the outputs."""
        return [partial(torch.mul, self.layer.parameters["scale"][..., None], self.gradients, out=into)]

    def parameter_gradients(self, previous: Tensor, add: bool) -> Operations:
        """See `EmbeddingPass.parameter_gradients`."""
        return [
            partial(torch.mul, self.gradients, previous, out=self.products),
            summed(self.products, self.layer.gradients["scale"], add),
        ]


class MemberInputsPass:
    """The buffers of the layer that gives each row to all members; see `EmbeddingPass`.

    Attributes:
        outputs: (K, features, M · n).
        gradients: likewise.
    """

    def __init__(self, layer: InputLayer, features: int, examples: int, scores: bool) -> None:
        """Allocate the buffers."""
        self.layer, self.scale = layer, layer.parameters["scale"].mT[..., None]  # r (K, features, M, 1)
        *networks, _, members, _ = self.scale.shape
        self.outputs = self.scale.new_empty(*networks, features, members * examples)
        self.gradients = self.outputs if scores else torch.empty_like(self.outputs)
        self.products = self.gradients if scores else torch.empty_like(self.outputs)

    def forward(self, previous: Tensor) -> Operations:
        """See `EmbeddingPass.forward`."""
        return [partial(torch.mul, self.scale, previous.unsqueeze(-2), out=self._of_members(self.outputs))]

    def backward(self, into: Tensor) -> Operations:
        """See `ScalePass.backward`."""
        gradients, products = self._of_members(self.gradients), self._of_members(self.products)
        return [
            partial(torch.mul, self.scale, gradients, out=products),
            partial(torch.sum, products, -2, out=into),
        ]

    def parameter_gradients(self, previous: Tensor, add: bool) -> Operations:
        """See `EmbeddingPass.parameter_gradients`."""
        gradients, products = self._of_members(self.gradients), self._of_members(self.products)
        return [
            partial(torch.mul, gradients, previous.unsqueeze(-2), out=products),
            summed(products, self.layer.gradients["scale"].mT, add),
        ]

    def _of_members(self, columns: Tensor) -> Tensor:
        """Return a view (K, features, M, n) of columns (K, features, M · n)."""
        return columns.view(*columns.shape[:-1], self.layer.members, -1)


InputPass = EmbeddingPass | ScalePass | MemberInputsPass


def summed(values: Tensor, into: Tensor, add: bool) -> Callable[[], object]:
    """Return the operation that writes the sum over the examples, or adds it."""
    if add:
        return lambda: into.add_(values.sum(-1))
    return partial(torch.sum, values, -1, out=into)


def flat(values: Tensor) -> Tensor:
    """Return matrices (K, N, rows, columns) as a view (K · N, rows, columns)."""
    return values.view(-1, *values.shape[-2:])
