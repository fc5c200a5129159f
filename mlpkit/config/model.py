"""What every model has, and what it does: it makes layers, or a module of its own."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlpkit.config.task_fit import ForTasks

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One layer: its kind and shapes, known without torch, and how its module is made.

    Attributes:
        kind: the name of its class.
        in_features: width of its inputs.
        out_features: width of its outputs.
        make: device -> its module, on torch's current device; a module that draws does so on that device.
        parameters: shapes of what is trained, by name.
        buffers: shapes of other floating-point numbers.
        counters: shapes of integers.
        keeps_zeros: whether units that are zero stay so; then a run can be padded beside wider ones.
        settings: what else runs that are trained together must share.
        name: as in a checkpoint; given by `mlpkit.models.architecture`.
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
    """A model. A new one has a name, options, `tasks` and `build`."""

    def build(self, features: int, width: int) -> "nn.Module":
        """Return a module that maps (rows, features) to (rows, width), with its first weights.

        Its gradients are autograd's. What it draws from torch's global generator, here and when training, is
        a function of the run's seed. Weights are parameters, and what else it keeps are buffers.

        Args:
            features: numbers of a row, scaled where `dataset.standardize` says so.
            width: targets, or logits: one for two classes, else one for each class.
        """
        raise NotImplementedError(f"model={self.name} has no build")

    def layers(self, features: int, width: int) -> list[Layer] | None:
        """Return the layers of `mlpkit.models.layers`, or None where the model is what `build` returns.

        The gradients of such layers are derived by hand, and their shapes are known without torch.
        """
        return None

    def problem_with_one_row(self) -> str | None:
        """Return why it cannot be trained on a single row, and the way out; None where it can."""
        return None
