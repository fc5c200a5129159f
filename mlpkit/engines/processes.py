"""The processes that train one run together, and the numbers that they add up (torch.distributed)."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from mlpkit.engines.batches import Share
from mlpkit.errors import LostProcessError
from mlpkit.system.device import choose_device

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

TIMEOUT = timedelta(minutes=5)  # the longest that a process waits for the others


@dataclass
class Processes:
    """The processes of a training: each holds all weights and takes its share of the rows.

    The first has the run folder, the log and the terminal; the others follow its config.

    Attributes:
        share: which of them this one is, and its part of any number of rows.
        store: where the first leaves the config for the others.
        local_rank: this one's number on its machine.
        local_size: number of processes on this machine.
        signal_here: returns the number of the stop signal that has arrived at this process, if one has.
        what_happened: says in words why the others do not answer.
        signal: the stop signal that all processes know of; None before one arrives at any of them.
    """

    share: Share
    store: "Store"
    local_rank: int = 0
    local_size: int = 1
    signal_here: Callable[[], int | None] = lambda: None
    what_happened: Callable[[], str] = lambda: "another process of the training has ended"
    signal: int | None = None
    _group: Any = field(default=None, repr=False)
    _told: int = 0  # texts exchanged so far

    @property
    def size(self) -> int:
        """Number of processes."""
        return self.share.size

    @property
    def is_first(self) -> bool:
        """Whether this process has the run folder."""
        return self.share.rank == 0

    def choose_device(self, wanted: str) -> str:
        """Return this process's device, one of its own where it is CUDA; see `mlpkit.system.device`.

        Raises:
            ConfigError: this machine has too few devices.
        """
        device = choose_device(wanted)
        return device if device == "cpu" else choose_device(f"cuda:{self.local_rank}")

    def connect(self, device: str) -> None:
        """Wait for the others: by NCCL if tensors lie on a CUDA device, else by Gloo.

        Raises:
            LostProcessError: they did not come.
        """
        store = dist.PrefixStore("group", self.store)  # type: ignore[attr-defined]
        arguments = (store, self.share.rank, self.share.size)
        try:
            if device == "cpu":
                self._group = dist.ProcessGroupGloo(*arguments, TIMEOUT)
            else:
                torch.cuda.set_device(device)
                options = dist.ProcessGroupNCCL.Options()
                options._timeout = TIMEOUT
                self._group = dist.ProcessGroupNCCL(*arguments, options)
        except RuntimeError as error:
            raise LostProcessError(self.what_happened()) from error

    def add_up(self, values: Tensor) -> None:
        """Replace values by their sums over all processes; each gets the same bits.

        Raises:
            LostProcessError: another process has ended or does not answer.
        """
        try:
            self._group.allreduce([values]).wait()
        except RuntimeError as error:
            raise LostProcessError(self.what_happened()) from error

    def write_signal(self, numbers: Tensor) -> None:
        """Write the signal that has arrived here to this process's place, before `numbers` are added up."""
        numbers[self.share.rank] = self.signal_here() or 0

    def read_signal(self, numbers: Tensor) -> None:
        """Read the signals of all processes after they were added up; from now on all know the first."""
        found = [int(number) for number in numbers if number]
        self.signal = self.signal or (found[0] if found else None)

    def exchange(self, value: Any) -> list[Any]:
        """Return each process's value, of which JSON is made: for what happens rarely.

        Raises:
            LostProcessError: another process has ended or does not answer.
        """
        self._told += 1
        keys = [f"told/{self._told}/{rank}" for rank in range(self.size)]
        try:
            self.store.set(keys[self.share.rank], json.dumps(value))
            return [json.loads(self.store.get(key)) for key in keys]
        except RuntimeError as error:
            raise LostProcessError(self.what_happened()) from error
