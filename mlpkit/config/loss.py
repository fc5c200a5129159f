"""What every loss has, and what it does: it says how far outputs are from targets."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from mlpkit.config.task_fit import ForTasks, check_task

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def _one(width: int) -> float:
    return 1.0


@dataclass(frozen=True)
class OutputGradient:
    """The gradient of a loss in the outputs, as backpropagation by hand computes it.

    Attributes:
        write: (outputs, y, out), each (…, width, rows), -> None; out := gradient / factor. Examples are
            columns here, and y is what `LossConfig.expected` returns.
        factor: width -> a number, which costs nothing: all gradients are multiplied by one anyway.
    """

    write: "Callable[[Tensor, Tensor, Tensor], object]"
    factor: Callable[[int], float] = _one


class LossConfig(ForTasks):
    """A loss. A new one has a name, options, `tasks` and `per_example`, and may have `gradient`."""

    def per_example(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Return the loss (rows,) of each row, of which training takes the mean.

        Without `gradient` autograd differentiates it. On a CUDA device do not branch on values.

        Args:
            outputs: (rows, width): values, standardised where `dataset.standardize` says so, or logits.
            targets: (rows, width) of a regression, likewise standardised; (rows, 1) zeros and ones for two
                classes; (rows,) integers for more.
        """
        raise NotImplementedError(f"loss={self.name} has no per_example")

    def gradient(self, outputs: "Tensor", y: "Tensor") -> "Tensor":
        """Return the gradient (…, rows, width) of each row's loss in its outputs, derived by hand.

        Args:
            outputs: (…, rows, width).
            y: likewise: the targets, classes one-hot.
        """
        raise NotImplementedError(f"loss={self.name} has no gradient")

    def expected(self, targets: "Tensor", width: int, dtype: "torch.dtype") -> "Tensor":
        """Return y (rows, width), what `gradient` compares outputs with: targets, or classes one-hot."""
        from torch.nn import functional as F

        return targets if targets.dim() == 2 else F.one_hot(targets, width).to(dtype)

    def by_hand(self) -> Optional[OutputGradient]:  # noqa: UP045  # as in `OptimizerConfig`
        """Return what backpropagation by hand uses, or None where there is no gradient."""
        if type(self).gradient is LossConfig.gradient:
            return None
        return OutputGradient(lambda outputs, y, out: out.copy_(self.gradient(outputs.mT, y.mT).mT))

    def for_task(self, task: str) -> "LossConfig":
        """Return the loss that is computed: itself, unless it stands for another one."""
        return self


def loss_for(chosen: LossConfig, task: str, dataset: str) -> LossConfig:
    """Return the loss that a config's `loss` stands for.

    Args:
        chosen: the config's.
        task: of the dataset.
        dataset: its name.

    Raises:
        ConfigError: the loss is for other tasks.
    """
    check_task("loss", chosen, task, dataset)
    return chosen.for_task(task)
