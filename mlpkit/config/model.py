"""Base class of models, and the description of a layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field

from mlpkit.config.task_fit import ForTasks

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One layer: its kind and shapes, known without importing torch, and a function that makes its module.

    Attributes:
        kind: name of the module's class.
        in_features: width of the inputs.
        out_features: width of the outputs.
        make: makes the module on torch's current device. Its argument is the device of random generators.
        parameters: shapes of the parameters, by name.
        buffers: shapes of the floating-point buffers, by name.
        counters: shapes of the integer buffers, by name.
        keeps_zeros: whether zero inputs give zero outputs. A sweep then pads narrow layers with zeros.
        settings: further settings, as text; runs trained together must have the same.
        name: as in a checkpoint; set by `mlpkit.models.architecture`.
    """

    kind: str
    in_features: int
    out_features: int
    make: "Callable[[str], nn.Module]" = field(compare=False)
    parameters: dict[str, Shape] = field(default_factory=dict)
    buffers: dict[str, Shape] = field(default_factory=dict)
    counters: dict[str, Shape] = field(default_factory=dict)
    keeps_zeros: bool = False
    settings: str = ""
    name: str = ""


class ModelConfig(ForTasks):
    """A model. A new one defines a name, options, `tasks` and `build`.

    Attributes:
        has_one_layer: whether outputs are linear in the inputs; `optimizer.lr=auto` is larger then.
    """

    to_define: ClassVar[tuple[str, ...]] = ("build or layers",)
    has_one_layer: ClassVar[bool] = False
    members: Annotated[int, Field(ge=1, le=1000)] = Field(
        1, description="networks that are trained together, each with its own seed; their mean is predicted"
    )

    def build(self, features: int, width: int) -> "nn.Module":
        """Return a module that maps (rows, features) to (rows, width), initialised.

        Autograd computes its gradients. It may draw from torch's global generator, here and in training:
        mlpkit seeds it from the run's seed. All its state must be in parameters and buffers.

        Args:
            features: number of input features, which are standardised if `dataset.standardize` is set.
            width: number of targets or of logits: one logit for two classes, else one a class or label.
        """
        raise NotImplementedError(f"model={self.name} has no build")

    @property
    def networks(self) -> int:
        """The number of networks with weights of their own; 1 if the members share weights."""
        return self.members

    def for_task(self, task: str) -> Self:
        """Return these options with a number in place of each `auto` that depends on the dataset's task."""
        return self

    def layers(self, features: int, width: int) -> list[Layer] | None:
        """Return layers made by `mlpkit.models.layers`; None if the model is built by `build`.

        The gradients of these layers are derived by hand, and their shapes are known without importing torch.
        """
        return None

    def input_layers(self, features: int, numbers: Sequence[int]) -> list[Layer]:
        """Return layers before those of `layers` or `build`, which then get the outputs of the last one.

        Args:
            features: number of input features.
            numbers: the places of those that are numbers; the others are categories and flags.
        """
        return []

    def problem_with_one_row(self) -> str | None:
        """Return why the model cannot be trained on a batch of one row, and the way out; None if it can."""
        return None
