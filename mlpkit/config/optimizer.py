"""What every optimizer has, and what it does to the weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Optional

from pydantic import Field

from mlpkit.config.section import Positive, Section

if TYPE_CHECKING:
    from torch import Tensor

Slots = dict[str, Literal["tensor", "number"]]
Step = Callable[["float | Tensor"], None]  # from a learning rate


@dataclass
class Buffers:
    """What an optimizer works on: the weights of some runs, in one tensor or in several.

    Attributes:
        values: the weights and biases.
        gradients: likewise.
        tensors: what the optimizer keeps for each value: likewise, by the names of `slots`.
        numbers: what it keeps once for all values: float32 without an axis, by the names of `slots`.
        flag: (1,); where it is 1 instead of 0, nothing may be changed. A CUDA device forbids updates by it,
            without waiting for the host.
        begun: whether a step has been taken; before it, what is kept is zero.
    """

    values: "list[Tensor]"
    gradients: "list[Tensor]"
    tensors: "dict[str, list[Tensor]]"
    numbers: "dict[str, Tensor]"
    flag: "Tensor | None" = None
    begun: bool = False


class OptimizerConfig(Section):
    """An optimizer. A new one has a name, options, `slots` and `update`."""

    name: str
    lr: Positive = Field(0.001, description="learning rate")

    def slots(self) -> Slots:
        """Return what is kept from step to step, by name.

        Each is a tensor like the values, or one number for all of them. It begins as zero and is a part of
        the checkpoint.
        """
        return {}

    def update(
        self, values: "Tensor", gradients: "Tensor", slots: "Mapping[str, Tensor]", lr: "float | Tensor"
    ) -> None:
        """Take a step: change the values and the slots in place.

        The tensors hold the weights of all layers, and may hold those of many runs. So each number must be
        updated from its own gradient and slots alone: there is no norm of a layer here.

        Args:
            values: the weights and biases, of any shape.
            gradients: likewise, after clipping; not to be changed.
            slots: by the names of `slots`; a number is a tensor without an axis.
            lr: the learning rate of this step. On a CUDA device it is a tensor, so multiply by it (torch's
                `alpha=` would have to wait for the device), and do not branch on values.
        """
        raise NotImplementedError(f"optimizer={self.name} has no update")

    def fused(self, buffers: Buffers) -> Optional[Step]:  # noqa: UP045  # Step is a text for Python
        """Return a function that takes the steps instead of `update`, such as a fused kernel of torch's.

        It has to heed `buffers.flag`.
        """
        return None

    def keeps_zeros(self) -> bool:
        """Whether a weight stays zero that is zero and whose gradients are: then the run can be padded.

        A sweep trains narrow and wide networks side by side, where the narrow ones are padded with zeros.
        """
        return False
