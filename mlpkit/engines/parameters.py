"""The parameters of K runs in one flat buffer, and other buffers with the same layout."""

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

Shapes = dict[str, torch.Size]


class Flat:
    """Stores the tensors of K runs in one buffer, tensor by tensor.

    The K versions of a tensor are contiguous, so that one operation can write them. If their shapes differ
    (hidden widths), each is padded with zeros to the largest shape.

    Attributes:
        runs: K.
        shapes: each tensor's padded shape, by name.
        run_shapes: for each run, its tensors' own shapes, by name.
        values: (K · P), the current values.
        average: (K · P), the moving averages of the values; None without; see `Weights`.
        best: (K · P), the values, or their averages, at each run's best epoch.
    """

    def __init__(self, tensors_of_runs: Sequence[Mapping[str, Tensor]]) -> None:
        """Copy the runs' tensors into the buffer."""
        self.runs = len(tensors_of_runs)
        self.run_shapes: list[Shapes] = [
            {name: tensors[name].shape for name in tensors} for tensors in tensors_of_runs
        ]
        self.shapes: Shapes = {
            name: torch.Size(
                max(sizes) for sizes in zip(*(own[name] for own in self.run_shapes), strict=True)
            )
            for name in tensors_of_runs[0]
        }
        self.is_padded = any(own != self.shapes for own in self.run_shapes)
        first = next(iter(tensors_of_runs[0].values()), torch.zeros(0))
        size = self.runs * sum(shape.numel() for shape in self.shapes.values())
        self.values = torch.zeros(size, dtype=first.dtype, device=first.device)
        for run, tensors in enumerate(tensors_of_runs):
            for name, own in self.of_run(self.values, run).items():
                own.copy_(tensors[name].detach())
        self.average: Tensor | None = None
        self.best = self.values.clone()

    @classmethod
    def from_networks(cls, tensors_of_runs: Sequence[Mapping[str, Tensor]]) -> Self:
        """Return a buffer with the networks' tensors, and make these tensors views of it."""
        flat = cls(tensors_of_runs)
        for run, tensors in enumerate(tensors_of_runs):
            for name, own in flat.of_run(flat.values, run).items():
                tensors[name].data = own
        return flat

    def zeros_like(self) -> Tensor:
        """Return a buffer (K · P) of zeros with the same layout."""
        return torch.zeros_like(self.values)

    def views(self, buffer: Tensor) -> dict[str, Tensor]:
        """Return views (K, *shape) of a buffer by name; (*shape) where K = 1."""
        parts = self._parts(buffer)
        return {name: part[0] for name, part in parts.items()} if self.runs == 1 else parts

    def of_run(self, buffer: Tensor, run: int) -> dict[str, Tensor]:
        """Return views of one run's tensors in a buffer, in the run's own shapes."""
        own = self.run_shapes[run]
        return {
            name: part[run][tuple(slice(size) for size in own[name])] if self.is_padded else part[run]
            for name, part in self._parts(buffer).items()
        }

    def stacked(self, buffer: Tensor) -> list[Tensor]:
        """Return views (K, *shape) of a buffer, with the axis K even where K = 1."""
        return list(self._parts(buffer).values())

    def rows(self, buffer: Tensor) -> list[Tensor]:
        """Return views (K, n) that together cover a buffer: one where K = 1, else one per name."""
        if self.runs == 1:
            return [buffer.view(1, -1)]
        return self.matrices(buffer)

    def matrices(self, buffer: Tensor) -> list[Tensor]:
        """Return views (K, n) of a buffer, one per name."""
        return [part.view(self.runs, -1) for part in self._parts(buffer).values()]

    def run_slices(self, buffer: Tensor, first: int, stop: int, by_name: bool = False) -> list[Tensor]:
        """Return contiguous views that together cover the values of the runs first to stop.

        Args:
            buffer: one with this layout.
            first: the first run.
            stop: the run after the last.
            by_name: whether each view must be one tensor of the runs, (stop - first, *shape).
        """
        if (first, stop) == (0, self.runs) and not by_name:
            return [buffer]
        return [part[first:stop] for part in self._parts(buffer).values()]

    def save_best(self, better: Sequence[bool]) -> None:
        """Copy values, or their averages, to `best` for the runs where `better` (K,) is true."""
        found = self.values if self.average is None else self.average
        if all(better):
            self.best.copy_(found)
            return
        mask = torch.tensor(better, device=self.values.device)[:, None]
        for best, values in zip(self.rows(self.best), self.rows(found), strict=True):
            torch.where(mask, values, best, out=best)

    def swap_best(self) -> None:
        """Exchange `values` and `best`."""
        values = self.values.clone()
        self.values.copy_(self.best)
        self.best.copy_(values)

    def _parts(self, buffer: Tensor) -> dict[str, Tensor]:
        parts = torch.split(buffer, [self.runs * shape.numel() for shape in self.shapes.values()])
        return {
            name: part.view(self.runs, *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }
