"""What runs that are trained together have side by side: weights, optimizers, and what an epoch has seen.

All that their checkpoints restore lies here, by columns; `Member` reads and writes what is one run's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlpkit.batches import Rows
from mlpkit.config import Config
from mlpkit.engines.flat import Flat
from mlpkit.engines.stacked import layers_of
from mlpkit.engines.updates import Update, build_update
from mlpkit.models import Network
from mlpkit.schema.optimizer import OptimizerConfig
from mlpkit.schema.scheduler import Plateau, SchedulerConfig


@dataclass(frozen=True)
class Block:
    """Neighbours whose optimizers and schedules are set alike.

    Attributes:
        first: row of the first.
        stop: row after the last.
        update: what changes their values.
    """

    first: int
    stop: int
    update: Update

    @property
    def size(self) -> int:
        """How many there are."""
        return self.stop - self.first


class SideBySide:
    """K runs' state; a run is a row.

    Attributes:
        flat: the networks' parameters and their gradients.
        layers: over these.
        best: (K, *shape), the best weights so far, by name.
        of_each: (K, size), the gradients of each parameter, by name.
        norms: (K, 1), of the gradients that were last measured.
        blocks: neighbours that are updated at once.
        outputs: (K, rows, width) of the training rows, each before its update.
        seen: (K, rows) of each batch since the epoch's scores were last collected.
        seen_all: since then there has been a step of all rows.
    """

    def __init__(self, networks: Sequence[Network], configs: Sequence[Config], rows: int) -> None:
        """Put the networks' values next to each other.

        Args:
            networks: of the runs; those whose optimizers are set alike should be neighbours.
            configs: likewise.
            rows: of the training split.
        """
        self.flat, count = Flat(networks), len(networks)
        self.layers = layers_of([network.layers for network in networks], self.flat, together=True)
        values = self.flat.values
        self.best = self.flat.views(values.clone())
        self.of_each = {
            name: part.view(count, -1) for name, part in self.flat.views(self.flat.gradients).items()
        }
        self.norms = values.new_zeros(count, 1)
        self.outputs = values.new_empty(count, rows, self.layers[-1].weight.shape[-2])
        self.offsets = torch.arange(count)[:, None] * rows  # of each run's outputs
        self.seen: list[Tensor] = []
        self.seen_all = False
        self._norm_limits = self._limits([config.trainer.clip_norm for config in configs])
        self._value_limits = self._limits([config.trainer.clip_value for config in configs])
        self.blocks = []
        for _, neighbours in groupby(range(count), key=lambda row: _alike(configs[row], row)):
            places = list(neighbours)
            part = slice(places[0], places[-1] + 1)
            theirs, gradients = (
                [view[part] for view in self.flat.views(buffer).values()]
                for buffer in (values, self.flat.gradients)
            )
            update = build_update(configs[places[0]].optimizer, theirs, gradients)
            self.blocks.append(Block(part.start, part.stop, update))

    def _limits(self, limits: Sequence[float | None]) -> Tensor | None:
        """Return (K, 1) limits, or None where there is none."""
        if all(limit is None for limit in limits):
            return None
        finite = [[math.inf if limit is None else limit] for limit in limits]
        return self.flat.values.new_tensor(finite)

    def take_over(self, others: "SideBySide", rows: Sequence[int]) -> None:
        """Take what an epoch has seen from the rows of others that these runs had there."""
        where = torch.tensor(rows, dtype=torch.int64)
        self.outputs, self.norms = others.outputs[where], others.norms[where]
        self.seen, self.seen_all = [part[where] for part in others.seen], others.seen_all

    # ---------------------------------------------------------------------------------------- a step

    def put(self, rows: Rows, outputs: Tensor) -> None:
        """Keep the outputs (K, n, width) of some rows (K, n), or of all."""
        if isinstance(rows, slice):
            self.outputs, self.seen_all = outputs, True
            return
        width = self.outputs.shape[-1]
        places = (rows + self.offsets).view(-1)
        self.outputs.view(-1, width).index_copy_(0, places, outputs.reshape(-1, width))
        self.seen.append(rows)

    def forget(self, rows: Sequence[int]) -> None:
        """Let the gradients of some runs be zero."""
        for row in rows:
            for gradients in self.of_each.values():
                gradients[row].zero_()

    def clip(self, measure: bool) -> None:
        """Limit the gradients as the configs say, and keep their norms of before where that is wanted."""
        if measure or self._norm_limits is not None:
            norms = self._measure()
            if measure:
                self.norms = norms
        if self._value_limits is not None:
            for gradients in self.of_each.values():
                gradients.clamp_(-self._value_limits, self._value_limits)
            if self._norm_limits is not None:
                norms = self._measure()
        if self._norm_limits is not None:
            factors = torch.clamp(self._norm_limits / (norms + 1e-6), max=1.0)
            factors = torch.where(self._norm_limits.isinf(), 1.0, factors)  # where there is no limit
            for gradients in self.of_each.values():
                gradients.mul_(factors)

    def _measure(self) -> Tensor:
        of_all = torch.cat(list(self.of_each.values()), dim=1)
        norms: Tensor = torch.linalg.vector_norm(of_all, dim=1, keepdim=True)
        return norms

    def update(self, rates: Sequence[float]) -> None:
        """Change the weights, at the learning rate of each block."""
        for block, rate in zip(self.blocks, rates, strict=True):
            block.update(rate)

    def remember(self, better: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        """Keep the weights of some runs (K,) as their best so far."""
        mask = torch.from_numpy(better)
        for name, values in self.flat.views(self.flat.values).items():
            best = self.best[name]
            torch.where(mask.view(-1, *[1] * (best.dim() - 1)), values, best, out=best)

    # ------------------------------------------------------------------------------------------ a run

    def seen_by(self, row: int) -> Rows | None:
        """Return the rows that a run has seen since the last collect, or None."""
        if self.seen:
            return torch.cat([part[row] for part in self.seen])
        return slice(None) if self.seen_all else None

    def slots(self, row: int) -> tuple[Update, Mapping[str, Tensor]]:
        """Return what changes a run's values, and views of its own optimizer's tensors by name."""
        block = next(block for block in self.blocks if block.first <= row < block.stop)
        named: dict[str, Tensor] = {}
        for slot, values in block.update.slots.items():
            if values[0].dim():
                of_it = (of_block[row - block.first] for of_block in values)
            else:  # one number for all
                of_it = (values[0] for _ in self.flat.shapes)
            named |= {f"{name}/{slot}": its for name, its in zip(self.flat.shapes, of_it, strict=True)}
        return block.update, named


def _alike(config: Config, row: int) -> tuple[OptimizerConfig, SchedulerConfig, int]:
    """Return what neighbours must share to be updated at once; the plateau schedule is a run's own."""
    own = row if isinstance(config.scheduler, Plateau) else -1
    return config.optimizer, config.scheduler, own
