"""Compares two trainings of one run: the logged scores of each epoch, and all tensors of the checkpoints."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpkit.runs.checkpoint import Checkpoint
from mlpkit.runs.metrics_file import read_metrics

if TYPE_CHECKING:
    from torch import Tensor

NOT_OF_THE_RUN = ("seconds", "time")  # values of a line that differ from one training to the next
KINDS = ("model", "optimizer", "best")


@dataclass(frozen=True)
class Parting:
    """The first place at which two trainings part.

    Attributes:
        epoch: the first epoch in the logs with another value; None if all are equal.
        value: split and name of that value.
        before: the value in the run.
        now: the value when trained again.
    """

    epoch: int | None = None
    value: str = ""
    before: float | None = None
    now: float | None = None


@dataclass(frozen=True)
class TensorParting:
    """Tensors that differ.

    Attributes:
        names: those that differ, in order.
        count: number of tensors compared.
        largest: the largest difference, in units of the largest number of its tensor.
        where: the tensor with that difference.
    """

    names: tuple[str, ...]
    count: int
    largest: float
    where: str


def compare_logs(before: Path, now: Path, last_epoch: int) -> tuple[Parting, int]:
    """Return the first difference of two metrics.jsonl up to an epoch, and how many epochs were compared.

    Raises:
        DataError: one cannot be read.
    """
    old, new = (_by_place(read_metrics(path), last_epoch) for path in (before, now))
    shared = sorted(place for place in old if place in new)
    epochs = len({epoch for epoch, _ in shared})
    for place in shared:
        for name, value in old[place].items():
            other = new[place].get(name)
            if name not in NOT_OF_THE_RUN and not _equal(value, other):
                return Parting(place[0], f"{place[1]} {name}", value, other), epochs
    return Parting(), epochs


def _by_place(lines: Sequence[Mapping[str, Any]], last: int) -> dict[tuple[int, str], dict[str, Any]]:
    return {
        (line["epoch"], line["split"]): {k: v for k, v in line.items() if k not in ("epoch", "split", "step")}
        for line in lines
        if line["epoch"] <= last
    }


def _equal(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other):
        return True
    return one == other


def compare_tensors(before: Checkpoint, now: Checkpoint) -> TensorParting:
    """Return which tensors of two checkpoints differ, to the bit; those that only one has are left out."""
    old, new = (_compared(each) for each in (before, now))
    shared = [name for name in old if name in new and old[name].shape == new[name].shape]
    differing = [name for name in shared if old[name].numpy().tobytes() != new[name].numpy().tobytes()]
    sizes = {name: _difference(old[name], new[name]) for name in differing}
    where = max(sizes, key=sizes.__getitem__, default="")
    return TensorParting(tuple(differing), len(shared), sizes.get(where, 0.0), where)


def _compared(stored: Checkpoint) -> dict[str, "Tensor"]:
    return {
        name: tensor for name, tensor in stored.state.tensors().items() if name.partition("/")[0] in KINDS
    }


def _difference(one: "Tensor", other: "Tensor") -> float:
    a, b = one.double(), other.double()
    scale = float(a.abs().max()) or 1.0
    return float((a - b).abs().max()) / scale
