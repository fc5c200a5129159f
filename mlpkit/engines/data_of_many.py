"""The data of runs that are trained together: one for all, or one for each, and what scores are made of."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlpkit.batches import Rows
from mlpkit.engines.data import DeviceData
from mlpkit.tasks import Task

Sums = np.ndarray[Any, np.dtype[np.float64]]


class DataOfMany:
    """The splits of K runs. What all share is held once, without an axis of runs.

    Attributes:
        of_each: the data of each run.
        shared: whether it is the same for all.
        inputs: (rows, features), or (K, rows, features), of each split.
        expected: (rows, width) likewise: what the loss wants the mean of the outputs' distribution to be.
        rows: of the training split.
    """

    def __init__(
        self, of_each: Sequence[DeviceData], task: Task, width: int, dtype: torch.dtype, whole: bool
    ) -> None:
        """Put the data of the runs side by side.

        Args:
            of_each: the data of each run, with equal shapes.
            task: of all of them.
            width: of the outputs.
            dtype: of the weights.
            whole: a step sees all rows.
        """
        self.of_each, self.task = of_each, task
        first = of_each[0]
        self.shared = all(data.inputs is first.inputs for data in of_each)
        self.inputs = {name: self._stacked([d.inputs[name] for d in of_each]) for name in first.inputs}
        self.kept: dict[tuple[str, str], Tensor] = {}
        self.rows = self.inputs["train"].shape[-2]
        if whole and self.shared and first.augmentation is None:
            # Rows next to each other, as in the units that are made of them.
            self.inputs["train"] = self.inputs["train"].t().contiguous().t()
        one_or_all = of_each[:1] if self.shared else of_each
        self.expected = self._stacked([task.expected(d.scaled["train"], width, dtype) for d in one_or_all])
        self.offsets = torch.arange(len(of_each), device=first.scaled["train"].device)[:, None] * self.rows

    def _stacked(self, of_each: list[Tensor]) -> Tensor:
        return of_each[0] if self.shared else torch.stack(of_each)

    def pick(self, values: Tensor, rows: Tensor, out: Tensor) -> Tensor:
        """Write the training rows (K, n) of values, one for all or one for each, into (K, n, width)."""
        places = rows.reshape(-1) if self.shared else (rows + self.offsets).view(-1)
        torch.index_select(values.view(-1, values.shape[-1]), 0, places, out=out.view(-1, out.shape[-1]))
        return out

    def losses(self, outputs: Tensor, split: str, rows: Rows) -> Tensor:
        """Return losses (K, n) of outputs (K, n, width) of some rows."""
        scaled = self._of_rows("scaled", split, rows)
        return self.task.loss(outputs.flatten(0, 1), scaled).view(outputs.shape[:2])

    def sums(self, outputs: Tensor, split: str, rows: Rows) -> Sums:
        """Return (1 + statistics, K): sums of losses, and of statistics, of outputs (K, n, width).

        See `mlpkit.metrics` for what a task makes of them.
        """
        losses = self.losses(outputs, split, rows)
        if self.shared:
            unscaled = self.of_each[0].network.unscaling(outputs.flatten(0, 1))
            statistics = self.task.statistics(unscaled, self._of_rows("targets", split, rows))
            columns = [losses, *(values.view(losses.shape) for values in statistics)]
        else:  # each has a scaling of its own
            statistics_of_each = [
                self.task.statistics(
                    data.network.unscaling(its_outputs),
                    data.targets[split][rows if isinstance(rows, slice) else rows[row]],
                )
                for row, (data, its_outputs) in enumerate(zip(self.of_each, outputs, strict=True))
            ]
            columns = [losses, *(torch.stack(values) for values in zip(*statistics_of_each, strict=True))]
        # Counting takes half the time of adding up in float64.
        sums = (of.sum(1) if of.dtype == torch.bool else of.sum(1, dtype=torch.float64) for of in columns)
        return torch.stack([of.double() for of in sums]).numpy()

    def _of_rows(self, kind: str, split: str, rows: Rows) -> Tensor:
        """Return the runs' targets (K · n, …), scaled or not, of some rows; those of all rows are kept."""
        if (kind, split) in self.kept and isinstance(rows, slice):
            return self.kept[kind, split]
        of_each = [getattr(data, kind)[split] for data in self.of_each]
        if isinstance(rows, slice):
            self.kept[kind, split] = torch.cat(of_each)
            return self.kept[kind, split]
        return torch.cat([values[its] for values, its in zip(of_each, rows, strict=True)])
