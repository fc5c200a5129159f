"""Engines: what takes the steps. The trainer knows only the protocol."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from mlpkit.batches import Rows


class Engine(Protocol):
    """Holds a model, its optimizer and the splits on one device."""

    name: str
    device: str

    def step(self, rows: Rows, rate: float, epoch: int, step: int, measure: bool) -> None:
        """Update the weights from some training rows; losses and scores are added up on the device.

        Args:
            rows: which rows of the training split.
            rate: the learning rate.
            epoch: passes over the data before this one; seeds dropout and augmentation.
            step: optimizer steps before this one; likewise.
            measure: keep the gradient's norm for `gradient_norm`.

        Raises:
            NonFiniteError: the loss or a gradient is infinite or NaN; the weights are as before the step.
                On a CUDA device the next call that reads scores or weights says so.
        """

    def collect(self) -> dict[str, float]:
        """Return the scores of the rows trained on since the last call, each before its update."""

    def gradient_norm(self) -> float:
        """Return the norm of the gradient that was last measured, before clipping."""

    def evaluate(self, split: str, poll: Callable[[], None] = lambda: None) -> dict[str, float]:
        """Return the scores of a split.

        Args:
            split: its name.
            poll: called between two parts of it; what it raises ends the evaluation.
        """

    def model_state(self) -> dict[str, Tensor]:
        """Return copies of the weights and buffers by name."""

    def load_model_state(self, state: dict[str, Tensor]) -> None:
        """Take weights and buffers back."""

    def optimizer_state(self) -> dict[str, Tensor]:
        """Return copies of the optimizer's tensors by name."""

    def load_optimizer_state(self, state: dict[str, Tensor]) -> None:
        """Take the optimizer's tensors back."""

    def epoch_state(self) -> dict[str, Tensor]:
        """Return what `collect` and `gradient_norm` have to say so far, by name."""

    def load_epoch_state(self, state: dict[str, Tensor]) -> None:
        """Take that back."""
