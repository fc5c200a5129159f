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

A batch norm (`mlpkit.engines.batch_norm`) stands between z_l and f. `mlpkit.engines.member_layers` has the
layers of members that share their weights, `mlpkit.engines.prelu` the activation that has a parameter.

The same formulas train K networks of one shape at once: every shape above gets a leading axis K. If all
networks read the same inputs, their first layers are stacked and computed as one layer of K · width_1 units.
`mlpkit.engines.input_layers` has the layers that may come before the first.
(Rumelhart, Hinton, Williams 1986; the dropout mask of Srivastava et al. 2014.)
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from mlpkit.engines.input_layers import InputLayer, InputPass
from mlpkit.engines.linear_layer import Hidden, LinearLayer
from mlpkit.engines.matmul import Matmul
from mlpkit.engines.member_layers import by_member, member_products
from mlpkit.engines.operations import Operations

NARROW = 12  # inputs of a layer; see `is_faster_transposed`
WORTH_COPYING = 6000  # activations of a layer; with fewer the copy takes longer than it saves


class Pass:
    """The forward and backward pass for a fixed number of examples, with its own buffers.

    Attributes:
        workspace: activations and gradients of all layers, one after another.
        outputs: (K, targets, n), written by `forward`; (K, M, targets, n) of members that share weights.
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
        self.matmul, columns = matmul, examples * (self.last.members or 1)
        kinds = ("activations",) if scores else ("activations", "gradients")
        shapes = [(*layer.weight.shape[:-1], columns) for layer in self.lower for _ in kinds]
        shapes += [(*self.last.weight.shape[:-1], examples) for _ in kinds]
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
            operations += self._to_inputs(layer, gradients, hidden.gradients) + hidden.backward()
            layer, gradients = lower, hidden.gradients
        if self.before:
            operations += self._to_inputs(layer, gradients, self.before[-1].gradients)
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
            operations += hidden.parameter_gradients(add)
            previous = hidden.activations
        return operations + self._weight_gradients(self.last, self.output_gradients, previous, add)

    def _pre_activations(self, layer: LinearLayer, previous: Tensor, out: Tensor) -> Operations:
        weight, bias, networks = layer.weight, layer.bias, 1
        if layer.members:
            return member_products(self.matmul, weight, by_member(previous, layer.members), out, bias)
        if previous.dim() < out.dim():
            networks, bias = len(weight), None if bias is None else as_one(bias)
            weight, out = as_one(weight), as_one(out)
        return self.matmul.product(weight, previous, out, bias, networks)

    def _to_inputs(self, layer: LinearLayer, gradients: Tensor, into: Tensor) -> Operations:
        """Return the operations that compute the gradients of a linear layer's inputs."""
        if layer.members:
            return member_products(self.matmul, layer.weight.mT, gradients, by_member(into, layer.members))
        return self.matmul.product(layer.weight.mT, gradients, into)

    def _weight_gradients(
        self, layer: LinearLayer, gradients: Tensor, previous: Tensor, add: bool
    ) -> Operations:
        weight, bias, delta, networks = layer.weight_gradient, layer.bias_gradient, gradients, 1
        if layer.members:
            base, columns = weight if add else None, by_member(previous, layer.members).mT
            operations = member_products(self.matmul, delta, columns, weight, base)
            return [*operations, *self._bias_gradients(bias, gradients, add)]
        if previous.dim() < gradients.dim():
            networks, weight, delta = len(weight), as_one(weight), as_one(gradients)
        if is_faster_transposed(weight, examples=previous.shape[-1]):
            transposed = weight.new_empty(weight.shape[::-1])
            operations = self.matmul.product(previous, delta.mT, transposed, networks=networks)
            operations.append(partial(weight.add_ if add else weight.copy_, transposed.mT))
        else:
            operations = self.matmul.product(delta, previous.mT, weight, weight if add else None, networks)
        return [*operations, *self._bias_gradients(bias, gradients, add)]

    def _bias_gradients(self, bias: Tensor | None, gradients: Tensor, add: bool) -> Operations:
        if bias is None:
            return []
        if add:
            return [lambda: bias.add_(gradients.sum(-1, keepdim=True))]
        return [partial(torch.sum, gradients, -1, keepdim=True, out=bias)]


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
