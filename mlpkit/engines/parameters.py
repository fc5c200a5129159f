"""The trained values of K runs in one buffer, and more buffers of the same layout."""

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

Shapes = dict[str, torch.Size]


class Flat:
    """Holds tensors of K runs in one buffer, in the order of their names.

    The K versions of a tensor lie together, so that one operation writes them. Where runs have other shapes,
    as with other hidden widths, every version has the largest one, and zeros where its run has nothing.

    Attributes:
        runs: K.
        shapes: of each tensor of a run, the largest of all runs, by name.
        run_shapes: of each run's tensors.
        values: (K · P), all of them.
        best: likewise, as they were at each run's best epoch.
    """

    def __init__(self, of_each: Sequence[Mapping[str, Tensor]]) -> None:
        """Copy the runs' tensors into the buffer."""
        self.runs = len(of_each)
        self.run_shapes: list[Shapes] = [{name: of[name].shape for name in of} for of in of_each]
        self.shapes: Shapes = {
            name: torch.Size(
                max(sizes) for sizes in zip(*(own[name] for own in self.run_shapes), strict=True)
            )
            for name in of_each[0]
        }
        self.is_padded = any(own != self.shapes for own in self.run_shapes)
        first = next(iter(of_each[0].values()), torch.zeros(0))
        size = self.runs * sum(shape.numel() for shape in self.shapes.values())
        self.values = torch.zeros(size, dtype=first.dtype, device=first.device)
        for run, tensors in enumerate(of_each):
            for name, own in self.of_run(self.values, run).items():
                own.copy_(tensors[name].detach())
        self.best = self.values.clone()
        self._pairs = list(zip(self.rows(self.best), self.rows(self.values), strict=True))

    @classmethod
    def from_networks(cls, of_each: Sequence[Mapping[str, Tensor]]) -> Self:
        """Return a buffer with tensors of networks, which from now on are views of it."""
        flat = cls(of_each)
        for run, tensors in enumerate(of_each):
            for name, own in flat.of_run(flat.values, run).items():
                tensors[name].data = own
        return flat

    def zeros_like(self) -> Tensor:
        """Return another buffer (K · P) of this layout, with zeros."""
        return torch.zeros_like(self.values)

    def views(self, buffer: Tensor) -> dict[str, Tensor]:
        """Return the parts (K, *shape) of a buffer by name; (*shape) where K = 1."""
        parts = self._parts(buffer)
        return {name: part[0] for name, part in parts.items()} if self.runs == 1 else parts

    def of_run(self, buffer: Tensor, run: int) -> dict[str, Tensor]:
        """Return one run's tensors in a buffer, each of the run's own shape."""
        own = self.run_shapes[run]
        return {
            name: part[run][tuple(slice(size) for size in own[name])] if self.is_padded else part[run]
            for name, part in self._parts(buffer).items()
        }

    def stacked(self, buffer: Tensor) -> list[Tensor]:
        """Return the parts (K, *shape) of a buffer, for one run as well."""
        return list(self._parts(buffer).values())

    def rows(self, buffer: Tensor) -> list[Tensor]:
        """Return tensors (K, numbers) that make up a buffer: all of it, or one for each name."""
        if self.runs == 1:
            return [buffer.view(1, -1)]
        return [part.view(self.runs, -1) for part in self._parts(buffer).values()]

    def run_slices(self, buffer: Tensor, first: int, stop: int) -> list[Tensor]:
        """Return what holds the values of runs next to each other, each tensor in one piece."""
        if (first, stop) == (0, self.runs):
            return [buffer]
        return [part[first:stop] for part in self._parts(buffer).values()]

    def save_best(self, better: Sequence[bool]) -> None:
        """Keep the values of some runs (K,) as their best so far."""
        if all(better):
            self.best.copy_(self.values)
            return
        mask = torch.tensor(better, device=self.values.device)[:, None]
        for best, values in self._pairs:
            torch.where(mask, values, best, out=best)

    def swap_best(self) -> None:
        """Exchange the values and the best ones."""
        values = self.values.clone()
        self.values.copy_(self.best)
        self.best.copy_(values)

    def _parts(self, buffer: Tensor) -> dict[str, Tensor]:
        parts = torch.split(buffer, [self.runs * shape.numel() for shape in self.shapes.values()])
        return {
            name: part.view(self.runs, *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }
