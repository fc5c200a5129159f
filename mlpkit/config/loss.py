"""The base class of losses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Optional

from mlpkit.config.task_fit import ForTasks, check_task
from mlpkit.errors import DataError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


OUTPUT_ACTIVATIONS = {  # by task: what turns the outputs of the last layer into predictions
    "regression": "linear output",
    "binary": "sigmoid",
    "multiclass": "softmax",
    "multilabel": "sigmoid",
}


def _one(width: int) -> float:
    return 1.0


@dataclass(frozen=True)
class OutputGradient:
    """The gradient of a loss with respect to the outputs, for backpropagation by hand.

    Attributes:
        write: (outputs, y, out), each (…, width, rows); writes gradient / factor to `out`. Examples are
            columns, and y is what `LossConfig.expected` returns.
        factor: width -> a constant factor. It costs nothing, since all gradients are scaled anyway.
    """

    write: "Callable[[Tensor, Tensor, Tensor], object]"
    factor: Callable[[int], float] = _one


class LossConfig(ForTasks):
    """The base class of losses: name, options, `tasks`, `per_example` and, optionally, `gradient`.

    Attributes:
        log_link: whether outputs are logarithms of predictions, of a regression on targets of at least 0.
            With `dataset.standardize` the targets are then divided by their mean, and not shifted.
        title: what it is called on the screen and in pictures; "" for its name.
        mixes_targets: whether the gradient is linear in the targets, so that `dataset.augment.mixup` can mix
            them.
    """

    to_define: ClassVar[tuple[str, ...]] = ("per_example or for_task",)
    log_link: ClassVar[bool] = False
    title: ClassVar[str] = ""
    mixes_targets: ClassVar[bool] = False

    @property
    def ends(self) -> tuple[float, ...]:
        """The quantiles that further outputs predict, such as the ends of an interval.

        The outputs (rows, width) begin with the predictions of all targets; then come those of all targets
        for each of these quantiles.
        """
        return ()

    def width(self, predicted: int) -> int:
        """Return the number of outputs of a network that predicts so many values."""
        return predicted * (1 + len(self.ends))

    def output_names(self, predicted: Sequence[str]) -> tuple[str, ...]:
        """Return the names of all outputs, given those of the predictions."""
        return *predicted, *(f"{end:.4g} of {name}" for end in self.ends for name in predicted)

    def per_example(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Return the loss of each row, (rows,); training minimises the mean.

        Without `gradient`, autograd differentiates it. Do not test values of tensors with `if`, which CUDA
        graphs do not support.

        Args:
            outputs: (rows, width): logits, or for regression values, standardised if the targets are.
            targets: (rows, width) for regression, standardised with `dataset.standardize`; (rows, width)
                zeros and ones for two classes and for multilabel; (rows,) integers for more classes.
        """
        raise NotImplementedError(f"loss={self.name} has no per_example")

    def gradient(self, outputs: "Tensor", y: "Tensor") -> "Tensor":
        """Return the gradient (…, rows, width) of each row's loss with respect to its outputs.

        Args:
            outputs: (…, rows, width).
            y: (…, rows, width), the targets; one-hot for several classes.
        """
        raise NotImplementedError(f"loss={self.name} has no gradient")

    def expected(self, targets: "Tensor", width: int, dtype: "torch.dtype") -> "Tensor":
        """Return the targets as y (rows, width) for `gradient`; classes become one-hot."""
        from torch.nn import functional as F

        return targets if targets.dim() == 2 else F.one_hot(targets, width).to(dtype)

    def by_hand(self) -> Optional[OutputGradient]:  # noqa: UP045  # as in `OptimizerConfig`
        """Return the gradient for backpropagation by hand, or None if `gradient` is not implemented."""
        if type(self).gradient is LossConfig.gradient:
            return None
        return OutputGradient(lambda outputs, y, out: out.copy_(self.gradient(outputs.mT, y.mT).mT))

    def check_targets(self, targets: "Tensor", dataset: str) -> None:
        """Check that the loss is defined for the targets of a dataset.

        Raises:
            DataError: there is a negative target, which has no rate.
        """
        if self.log_link and bool((targets < 0).any()):
            raise DataError(
                f"loss={self.name}: takes targets of at least 0, such as counts, and {dataset} has "
                f"{float(targets.min()):g}; correct it, or choose another loss"
            )

    def in_words(self) -> str:
        """Return what the loss is called on the screen and in pictures."""
        return type(self).title or self.name.replace("_", " ")

    def on_output(self, task: str) -> str:
        """Return the loss and what it takes of the outputs, as in "binary cross-entropy on a sigmoid".

        Args:
            task: the dataset's task.
        """
        return (
            f"{self.in_words()} on {'an exponential' if self.log_link else f'a {OUTPUT_ACTIVATIONS[task]}'}"
        )

    def for_task(self, task: str) -> "LossConfig":
        """Return the loss to use for a task: `auto` returns another loss, all others return themselves."""
        return self


def loss_for(chosen: LossConfig, task: str, dataset: str) -> LossConfig:
    """Return the loss to use for a dataset, with `auto` resolved.

    Args:
        chosen: the config's loss.
        task: the dataset's task.
        dataset: the dataset's name.

    Raises:
        ConfigError: the loss does not support the task.
    """
    check_task("loss", chosen, task, dataset)
    return chosen.for_task(task)
