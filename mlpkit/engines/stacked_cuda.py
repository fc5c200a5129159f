"""The stacked engine on a CUDA device: the host only says which rows are next, and never waits in an epoch.

A step is recorded as a CUDA graph, the second time that its shape comes, and then replayed. What is not
finite sets a flag on the device; from then on the optimizer's kernels leave the weights as they are, and the
flag is read when the epoch's scores are. The learning rate is a float32 there, whatever the weights are.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mlpkit.batches import Rows
from mlpkit.config import Config
from mlpkit.data.augment import Augmentation
from mlpkit.engines.backpropagation import Pass
from mlpkit.engines.chunk import Chunk, Numbers
from mlpkit.engines.flag import Flag
from mlpkit.engines.graphs import Graphs
from mlpkit.engines.stacked import StackedEngine
from mlpkit.engines.updates import build_update
from mlpkit.models.dropout import seed_dropout
from mlpkit.randomness import generator


class CudaStackedEngine(StackedEngine):
    """The stacked engine; what is not finite is reported when scores or weights are read."""

    def prepare(self, config: Config, augmentation: Augmentation | None) -> None:
        """Make what the device keeps beside the buffers."""
        device = self.device
        self.flag, self.rate = Flag(device), torch.zeros((), device=device)
        self.update = build_update(config.optimizer, [self.values], [self.gradients], self.flag.value)
        # Augmentation draws from a new generator at each step, which a record cannot, and operations that
        # must repeat to the last bit may look at their indices first.
        recorded = augmentation is None and not config.trainer.deterministic
        self.graphs = Graphs(device, self.dropout) if recorded else None
        self.places: dict[tuple[int, int], Tensor] = {}

    def step(self, rows: Rows, rate: float, epoch: int, step: int, measure: bool) -> None:
        """See `Engine.step`."""
        seed_dropout(self.dropout, self.seed, epoch, step)
        self.flag.begin(step, epoch)
        self.rate.fill_(rate)
        count = self._count(rows)
        chunks = self._chunks(rows, count)
        if self.graphs is None:
            random = generator(self.seed, "augment", epoch, step, self.device)
            self._program(chunks, count, measure, random)
        else:
            fixed = [self._place(index, chunk) for index, chunk in enumerate(chunks)]
            key = count, measure, self.update.begun
            self.graphs.run(key, lambda: self._program(fixed, count, measure))
        self.update.begun = True
        self.seen.append(rows)

    def _program(
        self, chunks: Sequence[Rows], count: int, measure: bool, random: torch.Generator | None = None
    ) -> None:
        self._differentiate(chunks, count, random)
        self.flag.note([self.gradients])
        self.flag.count()
        self._clip(measure)
        self.update(self.rate)

    def _place(self, index: int, rows: Rows) -> Rows:
        """Return the tensor in which a record finds the rows of a step's chunk."""
        if isinstance(rows, slice):
            return rows
        key = index, len(rows)
        if key not in self.places:
            self.places[key] = torch.empty(len(rows), dtype=torch.int64, device=self.device)
        return self.places[key].copy_(rows, non_blocking=True)

    def _watched(self, layers: Pass) -> tuple[Numbers, ...]:
        return (np.array([math.nan]),)  # always in doubt: the device looks by itself

    def _find(self, chunk: Chunk, rows: Rows) -> str | None:
        """Set the flag where a loss is not finite."""
        self.flag.note([self.task.loss(chunk.outputs, self.data.scaled["train"][rows])])
        return None

    def settle(self) -> None:
        """See `NetworkEngine.settle`."""
        self.flag.read()
