"""Compares a run with its second training: the logged scores of each epoch, and the checkpoints' tensors."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpkit.folders.checkpoint import Checkpoint
from mlpkit.folders.metrics_file import keeps_none, read_metrics
from mlpkit.folders.run_folder import RunFolder

if TYPE_CHECKING:
    from torch import Tensor

TIMES = ("seconds", "time")  # values of a line that differ whenever a run is trained
KINDS = ("model", "optimizer", "best", "raw")


@dataclass(frozen=True)
class LogDifference:
    """The first logged value that differs between two trainings.

    Attributes:
        epoch: its epoch; None if all values are equal.
        name: its split and name.
        before: the value of the first training.
        now: the value of the second training.
    """

    epoch: int | None = None
    name: str = ""
    before: float | None = None
    now: float | None = None


@dataclass(frozen=True)
class TensorDifference:
    """The tensors that differ between two checkpoints.

    Attributes:
        names: the names of these tensors, in order.
        count: number of tensors compared.
        largest: the largest difference of two numbers, divided by the largest number of their tensor.
        largest_in: the name of that tensor.
    """

    names: tuple[str, ...]
    count: int
    largest: float
    largest_in: str


def compare_logs(before: Path, now: Path, last_epoch: int) -> tuple[LogDifference, int]:
    """Return the first difference of two metrics.jsonl up to an epoch, and the number of epochs compared.

    With run.files=minimal there is nothing to compare.

    Raises:
        DataError: one cannot be read.
    """
    if any(keeps_none(RunFolder(path.parent)) for path in (before, now)):
        return LogDifference(), 0
    old, new = (_by_epoch(read_metrics(path), last_epoch) for path in (before, now))
    shared = sorted(key for key in old if key in new)
    epochs = len({epoch for epoch, _ in shared})
    for epoch, split in shared:
        for name, value in old[epoch, split].items():
            other = new[epoch, split].get(name)
            if name not in TIMES and not _equal(value, other):
                return LogDifference(epoch, f"{split} {name}", value, other), epochs
    return LogDifference(), epochs


def _by_epoch(lines: Sequence[Mapping[str, Any]], last: int) -> dict[tuple[int, str], dict[str, Any]]:
    return {
        (line["epoch"], line["split"]): {k: v for k, v in line.items() if k not in ("epoch", "split", "step")}
        for line in lines
        if line["epoch"] <= last
    }


def _equal(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other):
        return True
    return one == other


def compare_tensors(before: Checkpoint, now: Checkpoint) -> TensorDifference:
    """Return which tensors of two checkpoints differ in any bit; those that only one has are left out."""
    old, new = (_compared(each) for each in (before, now))
    shared = [name for name in old if name in new and old[name].shape == new[name].shape]
    differing = [name for name in shared if old[name].numpy().tobytes() != new[name].numpy().tobytes()]
    sizes = {name: _difference(old[name], new[name]) for name in differing}
    largest_in = max(sizes, key=sizes.__getitem__, default="")
    return TensorDifference(tuple(differing), len(shared), sizes.get(largest_in, 0.0), largest_in)


def _compared(stored: Checkpoint) -> dict[str, "Tensor"]:
    return {
        name: tensor for name, tensor in stored.state.tensors().items() if name.partition("/")[0] in KINDS
    }


def _difference(one: "Tensor", other: "Tensor") -> float:
    a, b = one.double(), other.double()
    scale = float(a.abs().max()) or 1.0
    return float((a - b).abs().max()) / scale
