"""The interface between an engine and the class that computes its gradients."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from mlpkit.data.augment import Draws
from mlpkit.engines.batches import Rows


class Gradients(Protocol):
    """Computes the gradients of K runs; see `ManualGradients` and `AutogradGradients`."""

    name: str

    @property
    def context(self) -> torch.inference_mode | torch.no_grad:
        """The context manager in which a step runs."""

    def fill(self, rows: Rows, count: int, add: bool, randoms: Sequence[Draws] | None) -> Tensor:
        """Write the gradients of the loss, summed over some rows and divided by `count`.

        Args:
            rows: (K, n), the rows' indices in the training table; or slice(None) for all rows.
            count: the number of rows in the step, over which the loss is averaged.
            add: whether to add to the current gradients instead of overwriting them.
            randoms: each run's draws for augmentation; None without augmentation.

        Returns:
            The outputs (K, width, n), one column per row.
        """

    def table_has_changed(self) -> None:
        """Take note that the training table has other rows than before."""

    def take_share(self, batch: int, first: int) -> None:
        """Take the next rows as a part of a batch of more rows, which begins there: for dropout."""

    def is_suspicious(self) -> bool:
        """Return whether a loss or gradient of the last `fill` may not be finite: a cheap first check."""

    def outputs(self, split: str, start: int, stop: int) -> Tensor:
        """Return the outputs (K, n, width) of some rows of a split; the next call may overwrite them."""
