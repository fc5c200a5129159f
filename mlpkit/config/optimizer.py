"""Base class of optimizers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Optional

from pydantic import Field

from mlpkit.config.section import Positive, Section

if TYPE_CHECKING:
    from torch import Tensor

Slots = dict[str, Literal["tensor", "number"]]
Step = Callable[["float | Tensor"], None]  # takes the learning rate


@dataclass
class Buffers:
    """The tensors that a fused optimizer step reads and writes, for one run or several.

    Attributes:
        values: the weights and biases.
        gradients: one tensor for each of `values`, of the same shape.
        tensors: by slot name, optimizer state for each of `values`, of the same shape.
        numbers: by slot name, one float32 scalar tensor of optimizer state for all values.
        begun: whether a step has been taken; until then the optimizer state is zero.
        names: the parameter that each of `values` is; empty without `has_layers`.
        loss: computes the loss of the values as they are, and writes `gradients`; it is set before each step
            of an optimizer with a line search, and None for others.
    """

    values: "list[Tensor]"
    gradients: "list[Tensor]"
    tensors: "dict[str, list[Tensor]]"
    numbers: "dict[str, Tensor]"
    begun: bool = False
    names: tuple[str, ...] = ()
    loss: "Callable[[], float] | None" = None


class OptimizerConfig(Section):
    """An optimizer. A new one defines a name, options, `slots` and `update`.

    Attributes:
        has_auto_lr: whether `lr=auto` is allowed, and the default; see `mlpkit.config.auto_lr`.
        has_layers: whether `fused` gets each layer's weights as a tensor (runs, *shape), and its biases
            likewise. If not, a tensor may hold several layers.
        has_line_search: whether a step computes the loss several times; see `Buffers.loss`. A run is then
            trained alone, by full batches.
    """

    to_define: ClassVar[tuple[str, ...]] = ("update or fused",)
    has_auto_lr: ClassVar[bool] = False
    has_layers: ClassVar[bool] = False
    has_line_search: ClassVar[bool] = False
    name: str
    lr: Positive = Field(0.001, description="learning rate")

    def slots(self) -> Slots:
        """Return the optimizer state, such as Adam's averages, by name.

        Each slot is a tensor of the weights' shape or one number. It starts at zero and is saved in
        checkpoints.
        """
        return {}

    def formulas(self) -> tuple[str, ...]:
        """Return the update of a weight θ with the gradient g, for people who read it; () to show none."""
        return ()

    def update(
        self, values: "Tensor", gradients: "Tensor", slots: "Mapping[str, Tensor]", lr: "float | Tensor"
    ) -> None:
        """Take a step: update the values and the slots in place.

        The tensors hold the weights of all layers, possibly of many runs. So the update must be elementwise:
        norms of a layer are not available; `has_layers` is for an optimizer that needs them.

        Args:
            values: the weights and biases, of any shape.
            gradients: of the same shape, after clipping; must not be changed.
            slots: the state by slot name; a number is a scalar tensor.
            lr: the learning rate of this step. On CUDA it is a tensor: multiply by it (torch's `alpha=` would
                wait for the device), and do not branch on its value.
        """
        raise NotImplementedError(f"optimizer={self.name} has no update")

    def fused(self, buffers: Buffers) -> Optional[Step]:  # noqa: UP045  # Step is a text for Python
        """Return a function that is called in place of `update`, such as a fused torch kernel."""
        return None

    def keeps_zeros(self) -> bool:
        """Whether a zero weight with zero gradients stays zero.

        If so, a sweep can train narrow and wide networks together, with the narrow ones padded with zeros.
        """
        return False
