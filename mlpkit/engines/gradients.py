"""What an engine asks of those who fill the gradients of its runs."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from mlpkit.engines.batches import Rows


class Gradients(Protocol):
    """Who fills the gradients: all that engines differ in."""

    name: str

    @property
    def context(self) -> torch.inference_mode | torch.no_grad:
        """In which a step's operations run."""

    def fill(self, rows: Rows, count: int, add: bool, randoms: Sequence[torch.Generator] | None) -> Tensor:
        """Write the gradients of rows' shares in the mean loss; return the outputs (K, width, n), as columns.

        Args:
            rows: (K, n), where in the training table they lie, or all.
            count: rows of the whole step, whose mean it is.
            add: to the gradients that are there, instead of writing over them.
            randoms: for each run, what changes its training inputs; None where nothing does.
        """

    def is_suspicious(self) -> bool:
        """Whether the last `fill` may have met a loss or a gradient that is not finite; cheap."""

    def outputs(self, split: str, start: int, stop: int) -> Tensor:
        """Return the outputs (K, n, width) of some rows of a split; the next call may write over them."""
