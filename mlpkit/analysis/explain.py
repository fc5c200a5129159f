"""One training step in numbers: each value of the forward and backward pass, and the update.

`mlpkit.analysis.explain_step` computes them, `mlpkit.analysis.explain_parts` puts them into words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from mlpkit.engines.experiment import Experiment


@dataclass(frozen=True)
class Gradient:
    """A gradient of the step's loss.

    Attributes:
        by_hand: as the engine computes it; None if it is not derived by hand.
        autograd: as torch.autograd computes it.
    """

    by_hand: Tensor | None
    autograd: Tensor

    @property
    def value(self) -> Tensor:
        """The one that training uses."""
        return self.autograd if self.by_hand is None else self.by_hand

    @property
    def difference(self) -> float | None:
        """The largest difference between both; None if there is only one."""
        return None if self.by_hand is None else float((self.by_hand - self.autograd).abs().max())


@dataclass(frozen=True)
class Stage:
    """The output of one module.

    Attributes:
        kind: the module's kind, such as Linear or ReLU.
        values: (n, width).
        function: the name of an activation; "" for another module.
        statistics: (width,) by name, of a batch norm: the batch's mean and variance; (n,) of a layer norm.
    """

    kind: str
    values: Tensor
    function: str = ""
    statistics: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class LayerStep:
    """A linear layer, or a module of one's own, with the modules that follow it.

    Attributes:
        stages: the outputs: of the layer first (the pre-activations), of what follows it after that.
        delta: ∂loss / ∂(output of the layer), (n, width).
        slopes: f'(z) of the activation, (n, width); None if there is none, or it has no derivative by hand.
        back: Wᵀ δ of the layer after it, (n, width), from which δ is computed; None of the last layer, and
            where δ is not computed by hand.
        mask: the dropout mask (n, width); None without dropout, and where δ is not computed by hand.
    """

    stages: tuple[Stage, ...]
    delta: Gradient
    slopes: Tensor | None = None
    back: Tensor | None = None
    mask: Tensor | None = None

    @property
    def is_linear(self) -> bool:
        """Whether it is a linear layer."""
        return self.stages[0].kind == "Linear"

    @property
    def output(self) -> Tensor:
        """What the next layer reads, (n, width)."""
        return self.stages[-1].values


@dataclass(frozen=True)
class ParameterStep:
    """A weight or bias, before and after the step.

    Attributes:
        name: its name in the network and in checkpoints, such as layers.0.weight.
        layer: the index of its layer.
        kind: weight or bias of the linear layer; else the name in its module, such as 1.weight.
        before: its values.
        gradient: of the step's loss.
        clipped: the gradient that the optimizer reads.
        state: the optimizer's state after the step, by slot: a tensor of the same shape, or a number.
        after: its values after the step.
    """

    name: str
    layer: int
    kind: str
    before: Tensor
    gradient: Gradient
    clipped: Tensor
    state: Mapping[str, Tensor]
    after: Tensor


@dataclass(frozen=True)
class Step:
    """A training step.

    Attributes:
        experiment: what is trained.
        rows: the rows of the training split, counted from 0.
        epoch: epochs done before the step.
        step: optimizer steps done before it.
        lr: its learning rate.
        raw: the rows' inputs as the dataset has them, (n, features).
        inputs: as the first layer reads them: scaled, and augmented if training augments, (n, features).
        targets: the rows' targets as the dataset has them, (n, …).
        expected: as the loss compares them with the outputs, (n, width).
        layers: from the inputs to the outputs.
        losses: of each row, times its weight, (n,).
        weights: how much each row counts, (n,); None if all count the same.
        parameters: all weights and biases.
        norm: the norm of the whole gradient, before clipping.
        by_hand: whether the gradients are derived by hand.
        reason: why the engine is the one that it is.
        is_augmented: whether training augments the inputs.
    """

    experiment: Experiment
    rows: tuple[int, ...]
    epoch: int
    step: int
    lr: float
    raw: Tensor
    inputs: Tensor
    targets: Tensor
    expected: Tensor
    layers: tuple[LayerStep, ...]
    losses: Tensor
    weights: Tensor | None
    parameters: tuple[ParameterStep, ...]
    norm: float
    by_hand: bool
    reason: str
    is_augmented: bool

    @property
    def loss(self) -> float:
        """The mean over the rows, which the step lowers."""
        return float(self.losses.mean())

    @property
    def outputs(self) -> Tensor:
        """The network's outputs, before they are converted to the targets' unit, (n, width)."""
        return self.layers[-1].output

    @property
    def difference(self) -> float | None:
        """The largest difference between gradients by hand and autograd's; None if none is by hand."""
        gradients = [layer.delta for layer in self.layers] + [of.gradient for of in self.parameters]
        return max((d for each in gradients if (d := each.difference) is not None), default=None)

    def parameters_of(self, layer: int) -> list[ParameterStep]:
        """Return the weights and biases of a layer."""
        return [parameter for parameter in self.parameters if parameter.layer == layer]
