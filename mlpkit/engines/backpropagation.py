"""Backpropagation through linear layers, by hand.

Layer l of L has weights W_l (width_l, width_{l-1}), a bias b_l (width_l, 1), an activation f and, in
training, a dropout mask m_l; the last layer has neither f nor m. A batch of n examples is a matrix with one
column per example. With a_0, the inputs (features, n), the forward pass is

    z_l = W_l a_{l-1} + b_l                      (width_l, n)   pre-activations
    a_l = f(z_l) ⊙ m_l                           (width_l, n)   activations; m_l is 0 or 1 / (1 - rate)

z_L are the outputs. The loss is a mean over examples, so we want the gradient of Σ ℓ(z_L, y) / n.
Write δ_l = ∂loss / ∂z_l (width_l, n). For the last layer and the three usual losses,

    δ_L = (μ(z_L) - y) · c / n                   squared error:         μ(z) = z,          c = 2 / targets
                                                 binary cross-entropy:  μ(z) = σ(z),       c = 1 / labels
                                                 softmax cross-entropy: μ(z) = softmax(z), c = 1, y one-hot

which is one formula: each loss is the negative log-likelihood of a distribution with mean μ(z); so is the
Poisson loss, with μ(z) = exp(z). Other losses compute δ_L themselves (`mlpkit.config.loss`). If rows have
weights, the loss is Σ w ℓ / n, and each column of δ_L is multiplied by its row's w. The backward pass is the
chain rule:

    ∂loss/∂W_l = δ_l a_{l-1}ᵀ                    (width_l, width_{l-1})
    ∂loss/∂b_l = Σ_examples δ_l                  (width_l, 1)
    δ_{l-1} = (W_lᵀ δ_l) ⊙ m_{l-1} ⊙ f'(z_{l-1}) (width_{l-1}, n)

The forward pass has one matrix product per layer and the backward pass two; they take nearly all of a step's
time. So buffers are allocated once, each product is written directly to its buffer, and a step is a list of
operations (`mlpkit.engines.operations`). Examples are columns, so that one unit's values for all examples are
contiguous in memory: activations and sums run along them.

A batch norm (`mlpkit.engines.batch_norm`) stands between z_l and f.

The same formulas train K networks of one shape at once: every shape above gets a leading axis K. If all
networks read the same inputs, their first layers are stacked and computed as one layer of K · width_1 units.
`mlpkit.engines.input_layers` has the layers that may come before the first.
(Rumelhart, Hinton, Williams 1986; the dropout mask of Srivastava et al. 2014.)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from mlpkit.config.activation import IDENTITY, InPlace
from mlpkit.engines.batch_norm import BatchNorm, BatchNormPass
from mlpkit.engines.input_layers import InputLayer, InputPass
from mlpkit.engines.matmul import Matmul
from mlpkit.engines.operations import Operations
from mlpkit.models.torch_layers import SELU_LIMIT, AlphaDropout, Dropout

NARROW = 12  # inputs of a layer; see `is_faster_transposed`
WORTH_COPYING = 6000  # activations of a layer; with fewer the copy takes longer than it saves


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer with its batch norm, activation and dropout. For one network there is no axis K.

    Attributes:
        weight: (K, out_features, in_features).
        bias: (K, out_features, 1), or None.
        weight_gradient: the gradient of the mean loss, shaped like `weight`; written by the backward pass.
        bias_gradient: the same for `bias`.
        activation: None for the last layer.
        dropout: one layer for each network; empty without dropout.
        widths: each network's width before narrower networks are padded with zeros.
        norm: the batch norm before the activation; None without.
    """

    weight: Tensor
    bias: Tensor | None
    weight_gradient: Tensor
    bias_gradient: Tensor | None
    activation: InPlace | None = None
    dropout: tuple[Dropout, ...] = ()
    widths: tuple[int, ...] = ()
    norm: BatchNorm | None = None


class Hidden:
    """A hidden layer's buffers for a fixed number of examples: a_l in `activations`, δ_l in `gradients`."""

    def __init__(
        self, layer: LinearLayer, activations: Tensor, gradients: Tensor, scores: bool = False
    ) -> None:
        """Use two given buffers (K, width, n); allocate those that only some layers need."""
        self.activations, self.gradients, self.dropout = activations, gradients, layer.dropout
        self.widths = layer.widths or (activations.shape[-2],) * len(layer.dropout)
        self.function = layer.activation or IDENTITY
        # With dropout, f(z) and f(z) ⊙ m need a buffer each. If f' needs z, f(z) cannot overwrite it.
        self.mask = torch.zeros_like(activations) if layer.dropout else None
        self.activated = activations if self.mask is None else torch.empty_like(activations)  # f(z)
        keeps_z = self.function.needs_pre_activations
        self.pre_activations = torch.empty_like(activations) if keeps_z else self.activated  # z
        self.norm = BatchNormPass(layer.norm, activations) if layer.norm and not scores else None
        self.running = layer.norm if scores else None  # a batch norm in evaluation
        # What the linear layer writes: z, or what becomes z by the batch norm.
        self.linear = self.pre_activations if self.norm is None else self.norm.normed

    def forward(self) -> Operations:
        """Return the operations that compute a_l from what the linear layer has written."""
        operations: Operations = [partial(self.function.apply, self.pre_activations, self.activated)]
        if self.norm is not None:
            operations = [*self.norm.forward(self.pre_activations), *operations]
        elif self.running is not None:
            operations = [*self.running.scores(self.linear, self.pre_activations), *operations]
        if self.mask is not None:
            # Each network draws its own mask, so that it is the same whether trained alone or among K.
            masks = self.mask if self.mask.dim() == 3 else (self.mask,)
            for mask, dropout, width in zip(masks, self.dropout, self.widths, strict=True):
                operations += dropout.draw(mask[:width])
            operations += self._drop(self.mask)
        return operations

    def _drop(self, mask: Tensor) -> Operations:
        """Return the operations that compute f(z) ⊙ m; of alpha dropout (f(z) - v) ⊙ m + shift."""
        if not isinstance(self.dropout[0], AlphaDropout):
            return [partial(torch.mul, self.activated, mask, out=self.activations)]
        shifts = [dropout.shift for dropout in self.dropout if isinstance(dropout, AlphaDropout)]
        shift = mask.new_tensor(shifts).view(-1, *[1] * (mask.dim() - 1))
        return [
            partial(torch.sub, self.activated, SELU_LIMIT, out=self.activations),
            partial(self.activations.mul_, mask),
            partial(self.activations.add_, shift),
        ]

    def backward(self) -> Operations:
        """Return the operations that compute δ_l from ∂loss/∂a_l, which is already in `gradients`."""
        kept = self.pre_activations if self.function.needs_pre_activations else self.activated
        operations: Operations = [] if self.mask is None else [partial(self.gradients.mul_, self.mask)]
        operations.append(partial(self.function.derive, self.gradients, kept))
        return operations if self.norm is None else [*operations, *self.norm.backward(self.gradients)]


class Pass:
    """The forward and backward pass for a fixed number of examples, with its own buffers.

    Attributes:
        workspace: activations and gradients of all layers, one after another.
        outputs: (K, targets, n), written by `forward`.
        output_gradients: δ_L, shaped like `outputs`; must be written before `backward`.
        before: the buffers of the layers before the first linear one.
    """

    def __init__(
        self,
        layers: Sequence[LinearLayer],
        examples: int,
        matmul: Matmul,
        scores: bool = False,
        before: Sequence[InputLayer] = (),
        features: int = 0,
    ) -> None:
        """Allocate the buffers.

        Args:
            layers: from the inputs to the outputs.
            examples: n.
            matmul: the precision of matrix products.
            scores: whether only to evaluate: no dropout, and no buffers for gradients.
            before: the layers before the first linear one.
            features: the number of inputs; needed with `before` only.
        """
        if scores:
            layers = [replace(layer, dropout=()) for layer in layers]
        *self.lower, self.last = layers
        self.matmul = matmul
        kinds = ("activations",) if scores else ("activations", "gradients")
        shapes = [(*layer.weight.shape[:-1], examples) for layer in layers for _ in kinds]
        sizes = [math.prod(shape) for shape in shapes]
        self.workspace = self.last.weight.new_zeros(sum(sizes))
        parts = torch.split(self.workspace, sizes)
        buffers = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
        *pairs, (self.outputs, self.output_gradients) = zip(
            buffers[:: len(kinds)], buffers[len(kinds) - 1 :: len(kinds)], strict=True
        )
        self.hidden = [Hidden(layer, *pair, scores) for layer, pair in zip(self.lower, pairs, strict=True)]
        self.before: list[InputPass] = []
        for layer_before in before:
            self.before.append(layer_before.buffers(features, examples, scores))
            features = self.before[-1].outputs.shape[-2]

    def forward(self, inputs: Tensor) -> Operations:
        """Return the operations that compute outputs from inputs (K, n, features) or shared (n, features)."""
        operations, previous = Operations(), inputs.mT
        for before in self.before:
            operations += before.forward(previous)
            previous = before.outputs
        for layer, hidden in zip(self.lower, self.hidden, strict=True):
            operations += self._pre_activations(layer, previous, hidden.linear) + hidden.forward()
            previous = hidden.activations
        return operations + self._pre_activations(self.last, previous, self.outputs)

    def backward(self) -> Operations:
        """Return the operations that compute δ_l of all hidden layers, and the gradients of those before."""
        operations, layer, gradients = Operations(), self.last, self.output_gradients
        for lower, hidden in zip(reversed(self.lower), reversed(self.hidden), strict=True):
            operations += (
                self.matmul.product(layer.weight.mT, gradients, hidden.gradients) + hidden.backward()
            )
            layer, gradients = lower, hidden.gradients
        if self.before:
            operations += self.matmul.product(layer.weight.mT, gradients, self.before[-1].gradients)
        for before, after in reversed(list(pairwise(self.before))):
            operations += after.backward(before.gradients)
        return operations

    def weight_gradients(self, inputs: Tensor, add: bool = False) -> Operations:
        """Return the operations that compute the gradients of all weights and biases, after both passes.

        Args:
            inputs: the inputs of the forward pass.
            add: whether to add to the current gradients instead of overwriting them.
        """
        operations, previous = Operations(), inputs.mT
        for before in self.before:
            operations += before.parameter_gradients(previous, add)
            previous = before.outputs
        for layer, hidden in zip(self.lower, self.hidden, strict=True):
            operations += self._weight_gradients(layer, hidden.gradients, previous, add)
            operations += [] if hidden.norm is None else hidden.norm.parameter_gradients(add)
            previous = hidden.activations
        return operations + self._weight_gradients(self.last, self.output_gradients, previous, add)

    def _pre_activations(self, layer: LinearLayer, previous: Tensor, out: Tensor) -> Operations:
        weight, bias, networks = layer.weight, layer.bias, 1
        if previous.dim() < out.dim():
            networks, bias = len(weight), None if bias is None else as_one(bias)
            weight, out = as_one(weight), as_one(out)
        return self.matmul.product(weight, previous, out, bias, networks)

    def _weight_gradients(
        self, layer: LinearLayer, gradients: Tensor, previous: Tensor, add: bool
    ) -> Operations:
        weight, bias, delta, networks = layer.weight_gradient, layer.bias_gradient, gradients, 1
        if previous.dim() < gradients.dim():
            networks, weight, delta = len(weight), as_one(weight), as_one(gradients)
        if is_faster_transposed(weight, examples=previous.shape[-1]):
            transposed = weight.new_empty(weight.shape[::-1])
            operations = self.matmul.product(previous, delta.mT, transposed, networks=networks)
            operations.append(partial(weight.add_ if add else weight.copy_, transposed.mT))
        else:
            operations = self.matmul.product(delta, previous.mT, weight, weight if add else None, networks)
        if bias is None:
            return operations
        if add:
            return [*operations, lambda: bias.add_(gradients.sum(-1, keepdim=True))]
        return [*operations, partial(torch.sum, gradients, -1, keepdim=True, out=bias)]


def is_faster_transposed(weight: Tensor, examples: int) -> bool:
    """Whether a weight's gradient is computed sooner as its transpose, which is then copied.

    With few inputs, MKL takes two to four times as long for δ aᵀ as for a δᵀ.

    Args:
        weight: (width, features); several networks (K, …) are computed in another way.
        examples: n.
    """
    if weight.dim() != 2 or weight.device.type != "cpu":
        return False
    width, features = weight.shape
    return 2 <= features < NARROW and width * examples >= WORTH_COPYING


def as_one(layers: Tensor) -> Tensor:
    """Return K layers (K, width, …) as one (K · width, …)."""
    return layers.view(-1, layers.shape[-1])
