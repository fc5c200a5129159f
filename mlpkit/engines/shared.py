"""The engine of a run that several processes train together (data-parallel training).

Each process holds all weights and draws the whole order of the rows, but computes the gradients and outputs
of its share of each batch. The gradients of all shares, already divided by the rows of the whole step, are
then added up, and each process updates its weights by the sum. Masks of dropout and changes of images are
drawn for the whole batch, of which a process takes its part. So the result is that of one process, except
for the order in which float32 numbers are added.

Outputs, signs of failure and stop signals lie in one buffer behind the gradients, and are added up with
them: one call per step. So after each step every process has all outputs of the epoch, and can save it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mlpkit.config.config import Config
from mlpkit.data.augment import Augmentation, Draws
from mlpkit.engines.batches import Rows
from mlpkit.engines.device_data import EVALUATION_ROWS, Sums
from mlpkit.engines.engine import Engine
from mlpkit.engines.not_finite import not_finite
from mlpkit.engines.processes import Processes
from mlpkit.errors import ConfigError
from mlpkit.models.torch_network import Network
from mlpkit.models.torch_own import OwnModule


class SharedEngine(Engine):
    """See `Engine`; all processes must call the same methods in the same order."""

    processes: Processes

    def __init__(self, *arguments: Any, processes: Processes) -> None:
        """Take the arguments of `Engine`, and the processes."""
        self.processes = processes
        super().__init__(*arguments)

    def _new_gradients(self) -> Tensor:
        """Return the gradients, the first part of the buffer that is added up; see the top of this file."""
        size, signs = len(self.parameters.values), self.runs + self.processes.size
        most = min(self.steps.size, self.data.rows)
        self._buffer = self.parameters.values.new_zeros(size + signs + self.runs * self.data.width * most)
        gradients, self._signs, self._outputs = torch.split(
            self._buffer, [size, signs, len(self._buffer) - size - signs]
        )
        self._failed, self._signals = torch.split(self._signs, [self.runs, self.processes.size])
        return gradients

    def _differentiate(self, rows: Rows, randoms: list[Draws] | None) -> dict[int, str]:
        """See `Engine._differentiate`; computes this process's share, and adds up those of all."""
        whole = self._every_row() if isinstance(rows, slice) else rows
        count = whole.shape[-1]
        outputs = self._outputs[: self.runs * self.data.width * count]
        used = self._buffer[: len(self._buffer) - len(self._outputs) + len(outputs)]
        used[len(self.gradients) :].zero_()
        outputs = outputs.view((self.runs, self.data.width, count)[self.runs == 1 :])
        batches = torch.split(whole, self.batch_size, dim=-1)
        failures: dict[int, str] = {}
        if not self._takes(batches[0]):
            self.gradients.zero_()
        for index, (batch, into) in enumerate(
            zip(batches, torch.split(outputs, self.batch_size, dim=-1), strict=True)
        ):
            if self._takes(batch):
                failures |= self._fill_share(batch, into, count, index > 0, randoms)
        for run in failures:
            self._failed[run] = 1
        self.processes.write_signal(self._signals)
        self.processes.add_up(used)
        if bool(self._signs.any()):
            failures = self._read_signs(failures)
        self.epoch_outputs.add(rows, outputs)
        return failures

    def _takes(self, batch: Tensor) -> bool:
        """Whether this process's share of a batch has any rows."""
        return range(batch.shape[-1])[self.processes.share.of(batch.shape[-1])] != range(0)

    def _fill_share(
        self, batch: Tensor, into: Tensor, count: int, add: bool, randoms: list[Draws] | None
    ) -> dict[int, str]:
        """Compute this process's share of a batch; return what is not finite, by run."""
        size, part = batch.shape[-1], self.processes.share.of(batch.shape[-1])
        rows = batch[..., part]
        self.filler.take_share(size, part.start)
        own = randoms and [replace(draws, batch=size, first=part.start) for draws in randoms]
        outputs = self.filler.fill(rows, count, add, own)
        into[..., part] = outputs
        if self.filler.is_suspicious() or (self.device != "cpu" and not self.gradients.isfinite().all()):
            return not_finite(self.data, self.parameters, self.gradients, rows, outputs)
        return {}

    def _read_signs(self, failures: dict[int, str]) -> dict[int, str]:
        """Read the signals and failures of all processes, after they were added up."""
        self.processes.read_signal(self._signals)
        if not bool(self._failed.any()):
            return {}
        told = self.processes.exchange([[run, what] for run, what in failures.items()])
        return {run: what for of_process in reversed(told) for run, what in of_process}

    def _every_row(self) -> Tensor:
        """Return the table indices (K, rows) of all training rows; (rows,) where K = 1."""
        every = torch.arange(self.data.rows, device=self.device)
        rows = self.data.table_rows(every if self.runs == 1 else every.expand(self.runs, -1))
        assert isinstance(rows, Tensor)
        return rows

    def outputs(self, split: str, poll: Callable[[], None] = lambda: None) -> Tensor:
        """See `Engine.outputs`; `poll` is not called, since all processes must stop at the same place."""
        rows, largest = self.data.splits[split].rows, max(1, EVALUATION_ROWS // (self.runs * self.data.views))
        part, shape = self.processes.share.of(rows), (self.runs, self.data.width, rows)[self.runs == 1 :]
        outputs = self.parameters.values.new_zeros(shape)
        with self.weights.averages_shown():
            for start in range(part.start, part.stop, largest):
                stop = min(start + largest, part.stop)
                outputs[..., start:stop] = self.filler.outputs(split, start, stop).mT
        self.processes.add_up(outputs)
        return outputs.mT

    def agree(self, sums: dict[str, Sums], seconds: float) -> tuple[dict[str, Sums], float]:
        """See `Engine.agree`; all processes get those of the first, whose clock and rounding decide."""
        numbers = [seconds, *(float(number) for own in sums.values() for number in own)]
        values = torch.zeros(self.processes.size + len(numbers), dtype=torch.float64, device=self.device)
        signals, found = torch.split(values, [self.processes.size, len(numbers)])
        self.processes.write_signal(signals)
        if self.processes.is_first:
            found.copy_(torch.tensor(numbers, dtype=torch.float64))
        self.processes.add_up(values)
        self.processes.read_signal(signals)
        seconds, *agreed = found.tolist()
        left = iter(agreed)
        return {split: [next(left) for _ in own] for split, own in sums.items()}, seconds

    @property
    def uses_threads(self) -> bool:
        """See `Engine.uses_threads`; the processes would have to agree on it."""
        return False


def check_sharing(config: Config, network: Network, augmentation: Augmentation | None) -> None:
    """Check that a run can be trained by several processes.

    Raises:
        ConfigError: a row's gradient depends on rows of other processes, or the lr on a process's clock.
    """
    kinds = [type(layer) for layer in network.layers]
    reasons = {
        "batch norm takes the mean of a whole batch, of which each process has a part; set "
        "model.norm=layer": nn.BatchNorm1d in kinds,
        "the layers of a plug-in may mix or draw by rows, of which each process has a part": (
            OwnModule in kinds
        ),
        f"the members of model={config.model.name} share weights, and only one process trains them; set "
        "model=mlp": network.members > 0,
        "dataset.augment.mixup mixes rows of different processes; set dataset.augment.mixup=0": (
            augmentation is not None and augmentation.options.mixup > 0
        ),
        "scheduler.over=time goes by a clock, and each process has its own; set scheduler.over=steps": (
            config.scheduler.is_over_time()
        ),
    }
    if reason := next((reason for reason, holds in reasons.items() if holds), None):
        raise ConfigError(f"trainer.processes={config.trainer.processes}: {reason}, or trainer.processes=1")
