"""The outputs of the training rows in the current epoch, each before its update."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mlpkit.engines.batches import Rows
from mlpkit.engines.device_data import DeviceData, Sums
from mlpkit.folders.state import Tensors

MOST_PLACES = 100_000


class EpochOutputs:
    """Stores the outputs of K runs in the order of their rows, for the scores of the epoch.

    Scores are computed once per epoch, not at each step. Examples are columns, as in a step, so that losses
    are always summed in the same order.
    """

    def __init__(self, data: DeviceData, rows: int, batch_size: int, like: Tensor) -> None:
        """Allocate memory for the outputs of an epoch.

        Args:
            data: the runs' data.
            rows: the most rows that an epoch has.
            batch_size: rows per batch; the last one of a pass may have fewer.
            like: a tensor with the outputs' dtype and device.
        """
        self.data = data
        self.outputs = like.new_empty((data.runs, data.width, rows)[data.runs == 1 :])
        # Where batches are written, by (rows before, rows in it): a view made anew costs a part of a step.
        self._places: dict[tuple[int, int], Tensor] = {}
        for start in range(0, rows, batch_size):
            self._place(start, min(batch_size, rows - start))
        self._full_batch = self.outputs  # of a full-batch step
        self._rows: list[Rows] = []  # the table indices of each batch
        self._count = 0  # rows in these batches

    def add(self, rows: Rows, outputs: Tensor) -> None:
        """Store the outputs (K, width, n) of rows (K, n), or of all rows."""
        if isinstance(rows, slice):
            self._full_batch = outputs
        else:
            count = rows.shape[-1]
            self._place(self._count, count).copy_(outputs)
            self._count += count
        self._rows.append(rows)

    def keep(self) -> Tensor:
        """Return a copy of the outputs (K, width, n) of a full-batch step, and store it in place of them."""
        self._full_batch = self._full_batch.clone()
        return self._full_batch

    def _place(self, start: int, count: int) -> Tensor:
        place = start, count
        if place not in self._places:
            if len(self._places) == MOST_PLACES:  # passes end at ever other places of an epoch
                self._places.clear()
            self._places[place] = self.outputs.narrow(-1, start, count)
        return self._places[place]

    def collect(self) -> Sums:
        """Return the sums over the rows since the last call, and clear; see `DeviceData.sums`."""
        outputs, rows = self._current()
        self.clear()
        return self.data.sums(outputs.mT, "train", rows)

    def clear(self) -> None:
        """Drop all outputs."""
        self._rows, self._count = [], 0

    def state(self, run: int) -> Tensors:
        """Return a run's outputs (n, width) so far, and their losses; {} between epochs."""
        if not self._rows:
            return {}
        outputs, rows = self._current()
        outputs = (outputs if self.data.runs == 1 else outputs[run]).mT.contiguous()
        losses = self.data.loss.per_example(outputs, self.data.scaled_of(run, rows))
        return {"outputs": outputs, "losses": losses}

    def restore(self, rows: Rows, outputs: Sequence[Tensor]) -> None:
        """Restore the outputs of the first part of an epoch.

        Args:
            rows: (K, n), the rows' indices in the table; or slice(None) for all rows.
            outputs: each run's outputs (n, width).
        """
        for run, own in enumerate(outputs):
            into = self.outputs if self.data.runs == 1 else self.outputs[run]
            into[:, : len(own)].copy_(own.mT)
        self._full_batch = self.outputs
        self._rows, self._count = [rows], len(outputs[0])

    def copy_from(self, others: "EpochOutputs", runs: Sequence[int]) -> None:
        """Copy the outputs of some runs of another engine."""
        if others._rows:
            outputs, rows = others._current()
            selected = outputs[list(runs)].mT
            self.restore(rows if isinstance(rows, slice) else rows[list(runs)].squeeze(0), selected.unbind())

    def _current(self) -> tuple[Tensor, Rows]:
        """Return the outputs (K, width, n) so far, and their rows."""
        if isinstance(self._rows[-1], slice):
            return self._full_batch, self._rows[-1]
        rows = torch.cat([rows for rows in self._rows if isinstance(rows, Tensor)], dim=-1)
        return self.outputs[..., : rows.shape[-1]], rows
