"""Backpropagation through linear layers, by hand.

A batch of n rows goes up through L layers. Layer l has weights W_l (width_l, width_{l-1}), a bias b_l
(width_l), an activation f and, in training, a dropout mask m_l; the last one has neither f nor m. With
a_0 = x, the inputs (n, features):

    z_l = a_{l-1} W_lᵀ + b_l                     (n, width_l)
    a_l = f(z_l) ⊙ m_l                           (n, width_l),   m_l is 0 or 1 / (1 - rate)

z_L are the outputs. The loss is a mean over rows, so what is wanted is the gradient of Σ ℓ(z_L, y) / n.
Write δ_l = ∂loss / ∂z_l (n, width_l). At the top, for the three losses that mlpkit has,

    δ_L = (μ(z_L) - y) · c / n                   squared error:         μ(z) = z,          c = 2 / targets
                                                 binary cross-entropy:  μ(z) = σ(z),       c = 1
                                                 softmax cross-entropy: μ(z) = softmax(z), c = 1, y one-hot

which is the same formula three times: each loss is the negative log-likelihood of a distribution whose
mean is μ(z). Further down, by the chain rule,

    ∂loss/∂W_l = δ_lᵀ a_{l-1}                    (width_l, width_{l-1})
    ∂loss/∂b_l = Σ_rows δ_l                      (width_l)
    δ_{l-1} = (δ_l W_l) ⊙ m_{l-1} ⊙ f'(z_{l-1})  (n, width_{l-1})

Two products for each layer on the way down and one on the way up: nearly all of a step's time. So the
rest stays out of their way: every buffer is made once, and products are written where they are wanted.

All of it holds for K networks of one shape at once, with an axis K in front of every shape above. Rows then
lie next to each other in memory, (K, width, n): small networks have more rows than units, and products of
K long thin matrices would take most of their time to begin. And where all networks read the same rows, their
first layers, one below the other, are one layer of K · width_1 units.
(Rumelhart, Hinton, Williams 1986; the dropout mask of Srivastava et al. 2014.)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mlpkit.engines.activations import ACTIVATIONS, IDENTITY, Activation
from mlpkit.matmul import Matmul, Product
from mlpkit.models.stack import Dropout


@dataclass(frozen=True)
class Layer:
    """A linear layer with what follows it. For one network there is no axis K.

    Attributes:
        weight: (K, width, width below).
        bias: (K, 1, width), or None.
        weight_gradient: like the weight; the mean loss's gradient is written here.
        bias_gradient: like the bias.
        activation: None for the last layer.
        dropout: one for each network, or none.
    """

    weight: Tensor
    bias: Tensor | None
    weight_gradient: Tensor
    bias_gradient: Tensor | None
    activation: Activation | None = None
    dropout: tuple[Dropout, ...] = ()


def obstacle(layers: nn.Sequential) -> str | None:
    """Return the name of a layer whose gradient is not derived here, or None."""
    known = (nn.Linear, Dropout, *ACTIVATIONS)
    return next((type(layer).__name__ for layer in layers if not isinstance(layer, known)), None)


class Hidden:
    """What a hidden layer holds of a fixed number of rows: a_l in `units` and δ_l in `delta`."""

    def __init__(self, layer: Layer, units: Tensor, delta: Tensor) -> None:
        """Take two buffers (K, rows, width) and make those that only some layers need."""
        self.units, self.delta, self.dropout = units, delta, layer.dropout
        self.delta_transposed = delta.mT
        self.activation = layer.activation or IDENTITY
        # f(z) is multiplied by the mask into `units`; and where f' wants z, f(z) cannot take its place.
        # A network draws its mask row by row, whatever lies beside it, so that it is the same for one of K.
        self.mask = delta.new_empty(delta.shape) if layer.dropout else None
        self.active = units if self.mask is None else torch.empty_like(delta)  # f(z)
        self.sums = torch.empty_like(delta) if self.activation.keeps_sums else self.active  # z

    def up(self) -> None:
        """Make units of the sums."""
        self.activation.apply(self.sums, self.active)
        if self.mask is not None:
            masks = self.mask if self.mask.dim() == 3 else (self.mask,)
            for mask, dropout in zip(masks, self.dropout, strict=True):
                mask.bernoulli_(1 - dropout.rate, generator=dropout.random).div_(1 - dropout.rate)
            torch.mul(self.active, self.mask, out=self.units)

    def down(self) -> None:
        """Make ∂loss/∂z of ∂loss/∂a, which the layer above has left in delta."""
        if self.mask is not None:
            self.delta.mul_(self.mask)
        self.activation.derive(self.delta, self.sums if self.activation.keeps_sums else self.active)


class Pass:
    """Takes a fixed number of rows up and down the layers, in buffers of its own.

    Attributes:
        workspace: outputs, units and deltas of all layers, one after another.
        outputs: (K, rows, targets); `up` ends with them.
        delta: of the last layer, like the outputs; `down` begins with it.
    """

    def __init__(self, layers: Sequence[Layer], rows: int, matmul: Matmul) -> None:
        """Make the buffers.

        Args:
            layers: from the inputs to the outputs.
            rows: n.
            matmul: how products are computed.
        """
        *self.lower, self.last = layers
        self.transposed = [layer.weight.mT for layer in layers]  # made once: a view takes as long as a sum
        *networks, _, _ = self.last.weight.shape
        self.wide_product, self.product = matmul.product(), matmul.product(networks=bool(networks))
        self.row_product = sideways(self.product) if networks else self.product  # where rows come out
        widths = [layer.weight.shape[-2] for layer in layers for _ in ("units", "delta")]
        sizes = [math.prod(networks) * rows * width for width in widths]
        self.workspace = self.last.weight.new_zeros(sum(sizes))
        parts = torch.split(self.workspace, sizes)
        shapes = [(*networks, width, rows) if networks else (rows, width) for width in widths]
        buffers = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        buffers = [buffer.mT for buffer in buffers] if networks else buffers
        *pairs, (self.outputs, self.delta) = zip(buffers[::2], buffers[1::2], strict=True)
        self.hidden = [Hidden(layer, *pair) for layer, pair in zip(self.lower, pairs, strict=True)]
        self.delta_transposed = self.delta.mT

    def up(self, inputs: Tensor) -> None:
        """Write the outputs of inputs (K, rows, features), or (rows, features) that all networks read."""
        below = inputs
        for layer, hidden, weight in zip(self.lower, self.hidden, self.transposed, strict=False):
            self._sums(layer, weight, below, hidden.sums)
            hidden.up()
            below = hidden.units
        self._sums(self.last, self.transposed[-1], below, self.outputs)

    def down(self) -> None:
        """Write the deltas of all layers below the last."""
        layer, delta = self.last, self.delta
        for below, hidden in zip(reversed(self.lower), reversed(self.hidden), strict=True):
            self.row_product(hidden.delta, delta, layer.weight, beta=0, out=hidden.delta)
            hidden.down()
            layer, delta = below, hidden.delta

    def gradients(self, inputs: Tensor, add: bool = False) -> None:
        """Write the gradients of all layers, now that there are units and deltas.

        Args:
            inputs: those that went up.
            add: to the gradients that are there, instead of writing over them.
        """
        below = inputs
        for layer, hidden in zip(self.lower, self.hidden, strict=True):
            self._gradients(layer, hidden.delta, hidden.delta_transposed, below, add)
            below = hidden.units
        self._gradients(self.last, self.delta, self.delta_transposed, below, add)

    def _sums(self, layer: Layer, weight: Tensor, below: Tensor, sums: Tensor) -> None:
        product = self.row_product
        if below.dim() < sums.dim():
            product, sums, weight = self.wide_product, flat(sums.mT).mT, flat(layer.weight).mT
        if layer.bias is None:
            product(sums, below, weight, beta=0, out=sums)
        else:
            bias = layer.bias if sums.dim() == layer.bias.dim() else layer.bias.reshape(1, -1)
            product(bias, below, weight, beta=1, out=sums)

    def _gradients(self, layer: Layer, delta: Tensor, transposed: Tensor, below: Tensor, add: bool) -> None:
        weight, bias = layer.weight_gradient, layer.bias_gradient
        if below.dim() < delta.dim():
            of_all = flat(weight)
            self.wide_product(of_all, flat(transposed), below, beta=int(add), out=of_all)
        else:
            self.product(weight, transposed, below, beta=int(add), out=weight)
        if bias is None:
            return
        if add:
            bias.add_(delta.sum(-2, keepdim=True))
        else:
            torch.sum(delta, -2, keepdim=True, out=bias)


def sideways(product: Product) -> Product:
    """Return the product for results that lie transposed: (left @ right)ᵀ = rightᵀ @ leftᵀ."""

    def transposed(base: Tensor, left: Tensor, right: Tensor, *, beta: int, out: Tensor) -> Tensor:
        return product(base.mT, right.mT, left.mT, beta=beta, out=out.mT)

    return transposed


def flat(layers: Tensor) -> Tensor:
    """Return (K, width, …) as (K · width, …): K layers as one."""
    return layers.view(-1, layers.shape[-1])
