"""What an epoch has seen so far: rows, and their outputs, each before its update."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mlpkit.engines.batches import Rows
from mlpkit.engines.device_data import DeviceData, Sums
from mlpkit.runs.state import Tensors


class EpochOutputs:
    """Keeps the outputs of K runs in the order in which their rows are seen, for the epoch's scores.

    Scores are computed once for all rows, which costs a step nothing. Rows are columns, as in a step, so that
    losses are added up alike wherever outputs come from.
    """

    def __init__(self, data: DeviceData, batch_size: int, like: Tensor) -> None:
        """Make room for an epoch.

        Args:
            data: of the runs.
            batch_size: rows that are seen at once.
            like: a tensor of the outputs' kind.
        """
        self.data, self.batch_size = data, batch_size
        self.outputs = like.new_empty((data.runs, data.width, data.rows)[data.runs == 1 :])
        sizes = [batch_size] * (data.rows // batch_size)
        rest = data.rows - sum(sizes)
        self._pieces = torch.split(self.outputs, [*sizes, rest] if rest else sizes, dim=-1)
        self._full_batch = self.outputs  # where a step has seen all rows
        self._rows: list[Rows] = []  # in the table, of each batch

    def add(self, rows: Rows, outputs: Tensor) -> None:
        """Take the outputs (K, width, n) of some rows (K, n), or of all."""
        if isinstance(rows, slice):
            self._full_batch = outputs
        else:
            self._pieces[len(self._rows)].copy_(outputs)
        self._rows.append(rows)

    def collect(self) -> Sums:
        """Return sums over the rows that were seen since the last call; see `DeviceData.sums`."""
        outputs, rows = self._current()
        self.clear()
        return self.data.sums(outputs.mT, "train", rows)

    def clear(self) -> None:
        """Begin anew."""
        self._rows = []

    def state(self, run: int) -> Tensors:
        """Return a run's outputs (n, width) so far, and their losses; nothing between two epochs."""
        if not self._rows:
            return {}
        outputs, rows = self._current()
        outputs = (outputs if self.data.runs == 1 else outputs[run]).mT.contiguous()
        losses = self.data.loss.per_example(outputs, self.data.scaled_of(run, rows))
        return {"outputs": outputs, "losses": losses}

    def restore(self, rows: Rows, outputs: Sequence[Tensor]) -> None:
        """Go on in an epoch that has seen some rows.

        Args:
            rows: (K, n), where in the table they lie, or all.
            outputs: (n, width) of each run.
        """
        for run, own in enumerate(outputs):
            into = self.outputs if self.data.runs == 1 else self.outputs[run]
            into[:, : len(own)].copy_(own.mT)
        self._full_batch = self.outputs
        self._rows = [rows] if isinstance(rows, slice) else list(torch.split(rows, self.batch_size, dim=-1))

    def copy_from(self, others: "EpochOutputs", runs: Sequence[int]) -> None:
        """Go on with what some of other runs have seen."""
        if others._rows:
            outputs, rows = others._current()
            chosen = outputs[list(runs)].mT
            self.restore(rows if isinstance(rows, slice) else rows[list(runs)].squeeze(0), chosen.unbind())

    def _current(self) -> tuple[Tensor, Rows]:
        """Return the outputs (K, width, n) of what has been seen, and the rows."""
        if isinstance(self._rows[-1], slice):
            return self._full_batch, self._rows[-1]
        rows = torch.cat([rows for rows in self._rows if isinstance(rows, Tensor)], dim=-1)
        return self.outputs[..., : rows.shape[-1]], rows
