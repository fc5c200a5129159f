"""Backpropagation through linear layers, by hand.

A batch of n examples goes up through L layers. Layer l has weights W_l (width_l, width_{l-1}), a bias b_l
(width_l, 1), an activation f and, in training, a dropout mask m_l; the last one has neither f nor m. Every
example is a column. With a_0, the inputs (features, n):

    z_l = W_l a_{l-1} + b_l                      (width_l, n)
    a_l = f(z_l) ⊙ m_l                           (width_l, n),   m_l is 0 or 1 / (1 - rate)

z_L are the outputs. The loss is a mean over examples, so what is wanted is the gradient of Σ ℓ(z_L, y) / n.
Write δ_l = ∂loss / ∂z_l (width_l, n). At the top, for the three losses that mlpkit has,

    δ_L = (μ(z_L) - y) · c / n                   squared error:         μ(z) = z,          c = 2 / targets
                                                 binary cross-entropy:  μ(z) = σ(z),       c = 1
                                                 softmax cross-entropy: μ(z) = softmax(z), c = 1, y one-hot

which is the same formula three times: each loss is the negative log-likelihood of a distribution whose
mean is μ(z). Further down, by the chain rule,

    ∂loss/∂W_l = δ_l a_{l-1}ᵀ                    (width_l, width_{l-1})
    ∂loss/∂b_l = Σ_examples δ_l                  (width_l, 1)
    δ_{l-1} = (W_lᵀ δ_l) ⊙ m_{l-1} ⊙ f'(z_{l-1}) (width_{l-1}, n)

Two products for each layer on the way down and one on the way up: nearly all of a step's time. So the
rest stays out of their way: every buffer is made once, products are written where they are wanted, and what a
step does with them is a program (`mlpkit.engines.program`). Examples are columns because a row of each matrix
is then one unit's values for all examples, next to each other in memory: activations, softmax and sums run
along it.

All of it holds for K networks of one shape at once, with an axis K in front of every shape above. Where all
networks read the same inputs, their first layers, one below the other, are one layer of K · width_1 units.
(Rumelhart, Hinton, Williams 1986; the dropout mask of Srivastava et al. 2014.)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from mlpkit.config.activation import IDENTITY, InPlace
from mlpkit.engines.matmul import Matmul
from mlpkit.engines.program import Program
from mlpkit.networks.dropout import Dropout


@dataclass(frozen=True)
class Layer:
    """A linear layer with what follows it. For one network there is no axis K.

    Attributes:
        weight: (K, width, width below).
        bias: (K, width, 1), or None.
        weight_gradient: like the weight; the mean loss's gradient is written here.
        bias_gradient: like the bias.
        activation: None for the last layer.
        dropout: one for each network, or none.
        widths: of each network's own layer, where networks of other widths are padded with zeros.
    """

    weight: Tensor
    bias: Tensor | None
    weight_gradient: Tensor
    bias_gradient: Tensor | None
    activation: InPlace | None = None
    dropout: tuple[Dropout, ...] = ()
    widths: tuple[int, ...] = ()


class Hidden:
    """What a hidden layer holds of a fixed number of examples: a_l in `units` and δ_l in `delta`."""

    def __init__(self, layer: Layer, units: Tensor, delta: Tensor) -> None:
        """Take two buffers (K, width, n) and make those that only some layers need."""
        self.units, self.delta, self.dropout = units, delta, layer.dropout
        self.widths = layer.widths or (units.shape[-2],) * len(layer.dropout)
        self.activation = layer.activation or IDENTITY
        # f(z) is multiplied by the mask into `units`; and where f' wants z, f(z) cannot take its place.
        self.mask = torch.zeros_like(units) if layer.dropout else None
        self.active = units if self.mask is None else torch.empty_like(units)  # f(z)
        self.sums = torch.empty_like(units) if self.activation.keeps_sums else self.active  # z

    def up(self) -> Program:
        """Return what makes units of the sums."""
        program: Program = [partial(self.activation.apply, self.sums, self.active)]
        if self.mask is not None:
            # A network draws a mask of its own, whatever lies beside it: it is the same for one of K.
            masks = self.mask if self.mask.dim() == 3 else (self.mask,)
            for mask, dropout, width in zip(masks, self.dropout, self.widths, strict=True):
                program += dropout.draw(mask[:width])
            program.append(partial(torch.mul, self.active, self.mask, out=self.units))
        return program

    def down(self) -> Program:
        """Return what makes ∂loss/∂z of ∂loss/∂a, which the layer above has left in delta."""
        kept = self.sums if self.activation.keeps_sums else self.active
        program: Program = [] if self.mask is None else [partial(self.delta.mul_, self.mask)]
        return [*program, partial(self.activation.derive, self.delta, kept)]


class Pass:
    """Takes a fixed number of examples up and down the layers, in buffers of its own.

    Attributes:
        workspace: outputs, units and deltas of all layers, one after another.
        outputs: (K, targets, n); `up` ends with them.
        delta: of the last layer, like the outputs; `down` begins with it.
    """

    def __init__(self, layers: Sequence[Layer], examples: int, matmul: Matmul, scores: bool = False) -> None:
        """Make the buffers.

        Args:
            layers: from the inputs to the outputs.
            examples: n.
            matmul: how products are computed.
            scores: the examples only go up, without dropout; units and deltas share their memory.
        """
        if scores:
            layers = [replace(layer, dropout=()) for layer in layers]
        *self.lower, self.last = layers
        self.matmul = matmul
        kinds = ("units",) if scores else ("units", "delta")
        shapes = [(*layer.weight.shape[:-1], examples) for layer in layers for _ in kinds]
        sizes = [math.prod(shape) for shape in shapes]
        self.workspace = self.last.weight.new_zeros(sum(sizes))
        parts = torch.split(self.workspace, sizes)
        buffers = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
        *pairs, (self.outputs, self.delta) = zip(
            buffers[:: len(kinds)], buffers[len(kinds) - 1 :: len(kinds)], strict=True
        )
        self.hidden = [Hidden(layer, *pair) for layer, pair in zip(self.lower, pairs, strict=True)]

    def up(self, inputs: Tensor) -> Program:
        """Return what writes the outputs of inputs (K, n, features), or (n, features) that all read."""
        program, below = Program(), inputs.mT
        for layer, hidden in zip(self.lower, self.hidden, strict=True):
            program += self._sums(layer, below, hidden.sums) + hidden.up()
            below = hidden.units
        return program + self._sums(self.last, below, self.outputs)

    def down(self) -> Program:
        """Return what writes the deltas of all layers below the last."""
        program, layer, delta = Program(), self.last, self.delta
        for below, hidden in zip(reversed(self.lower), reversed(self.hidden), strict=True):
            program += self.matmul.product(layer.weight.mT, delta, hidden.delta) + hidden.down()
            layer, delta = below, hidden.delta
        return program

    def gradients(self, inputs: Tensor, add: bool = False) -> Program:
        """Return what writes the gradients of all layers, once there are units and deltas.

        Args:
            inputs: those that went up.
            add: to the gradients that are there, instead of writing over them.
        """
        program, below = Program(), inputs.mT
        for layer, hidden in zip(self.lower, self.hidden, strict=True):
            program += self._gradients(layer, hidden.delta, below, add)
            below = hidden.units
        return program + self._gradients(self.last, self.delta, below, add)

    def _sums(self, layer: Layer, below: Tensor, sums: Tensor) -> Program:
        weight, bias, networks = layer.weight, layer.bias, 1
        if below.dim() < sums.dim():
            networks, bias = len(weight), None if bias is None else as_one(bias)
            weight, sums = as_one(weight), as_one(sums)
        return self.matmul.product(weight, below, sums, bias, networks)

    def _gradients(self, layer: Layer, delta: Tensor, below: Tensor, add: bool) -> Program:
        weight, bias, of_all, networks = layer.weight_gradient, layer.bias_gradient, delta, 1
        if below.dim() < delta.dim():
            networks, weight, of_all = len(weight), as_one(weight), as_one(delta)
        program = self.matmul.product(of_all, below.mT, weight, weight if add else None, networks)
        if bias is None:
            return program
        if add:
            return [*program, lambda: bias.add_(delta.sum(-1, keepdim=True))]
        return [*program, partial(torch.sum, delta, -1, keepdim=True, out=bias)]


def as_one(layers: Tensor) -> Tensor:
    """Return (K, width, …) as (K · width, …): K layers as one."""
    return layers.view(-1, layers.shape[-1])
