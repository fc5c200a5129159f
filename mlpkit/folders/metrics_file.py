"""metrics.jsonl: one line per epoch and split; written, read, and cut when a run is resumed."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpkit.errors import DataError
from mlpkit.folders.run_folder import RunFolder
from mlpkit.system.plain_json import regular_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGEST_LINE = 1 << 16  # bytes
LARGEST_READ = 1 << 23  # bytes; of a longer file only every k-th epoch is read

OF_LAYER = "grad_norm_"  # begins the names of the gradient's norms by layer
_EXTRA = ("lr", "grad_norm")
_PLACE = ("epoch", "step", "split", "seconds", *_EXTRA)
_EPOCH = re.compile(rb'\s*\{\s*"epoch"\s*:\s*([0-9]{1,15})\b')


@dataclass(frozen=True)
class Histogram:
    """Counts of values: `counts` (n,) between `edges` (n + 1,)."""

    counts: "NDArray[np.float64]"
    edges: "NDArray[np.float64]"


@dataclass(frozen=True)
class Record:
    """The scores after an epoch.

    Attributes:
        epoch: epochs done.
        step: optimizer steps done.
        scores: by split and name; None for a value that was not finite when it was written.
        seconds: training time so far.
        extra: values that belong to no split, such as lr.
        wall_time: seconds since 1970.
        histograms: of weights and gradients, by name; not in metrics.jsonl.
    """

    epoch: int
    step: int
    scores: Mapping[str, Mapping[str, float | None]]
    seconds: float
    extra: Mapping[str, float | None]
    wall_time: float
    histograms: Mapping[str, Histogram] = field(default_factory=dict)


def lines_of(record: Record) -> Iterator[str]:
    """Yield a record's lines, one per split."""
    # Formatted by hand: json.dumps takes three times as long, and there may be a thousand lines a second.
    begin = f'{{"epoch": {record.epoch}, "step": {record.step}, "split": "'
    end = f'{_members(record.extra)}, "seconds": {round(record.seconds, 6)!r}}}\n'
    for split, scores in record.scores.items():
        yield f'{begin}{split}"{_members(scores)}{end}'


def _members(values: Mapping[str, float | None]) -> str:
    """Return values as further members of a JSON object; infinities and NaN become null."""
    return "".join(
        f', "{name}": {value!r}' if value is not None and isfinite(value) else f', "{name}": null'
        for name, value in values.items()
    )


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl; of a very long file, those of every k-th epoch.

    Raises:
        DataError: a line is not one that mlpkit writes, or the path is not a regular file.
    """
    if keeps_none(folder := RunFolder(path.parent)):
        raise DataError(
            f"{folder.path}: has no curves: run.files=minimal keeps none; train it again with "
            f"mlpkit train --config {folder.config_file} run.files=all run.dir=null"
        )
    regular_file(path)
    lines, size = [], 0
    try:
        every = 1 + path.stat().st_size // LARGEST_READ
        for number, line in enumerate(_raw_lines(path), 1):
            if every > 1 and (match := _EPOCH.match(line)) and int(match[1]) % every:
                continue
            if not line.strip():
                continue
            parsed, size = parsed_line(line), size + len(line)
            if parsed is None:
                raise DataError(f"{path}:{number}: not a line of metrics; mend or remove the line")
            if size > 2 * LARGEST_READ:
                raise DataError(f"{path}:{number}: its epochs do not count up; not a file of mlpkit")
            lines.append(parsed)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    return lines


def keeps_none(folder: RunFolder) -> bool:
    """Whether a run has no metrics.jsonl because of run.files=minimal."""
    return not folder.metrics.exists() and folder.is_one_file


def read_curves(runs: Iterable[Path], warn: Callable[[str], None]) -> Iterator[list[dict[str, Any]]]:
    """Yield the lines of metrics.jsonl of each run that has some.

    Args:
        runs: run folders.
        warn: called with a line for each run that cannot be read, and one for all that keep no curves.
    """
    without = 0
    for folder in map(RunFolder, runs):
        if keeps_none(folder):
            without += 1
            continue
        try:
            lines = read_metrics(folder.metrics)
        except DataError as error:
            warn(f"no curve: {error}")
        else:
            yield lines
    if without:
        warn(f"no curves of {without:,} run{'s' if without > 1 else ''}: run.files=minimal keeps none")


def record_of(lines: Sequence[Mapping[str, Any]]) -> Record:
    """Return the record of an epoch's lines, of one split each."""
    last = lines[-1]
    scores = {
        line["split"]: {name: value for name, value in line.items() if is_score(name)} for line in lines
    }
    extra = {name: value for name, value in last.items() if name in _EXTRA or name.startswith(OF_LAYER)}
    return Record(last["epoch"], last["step"], scores, last["seconds"], extra, 0.0)


def is_score(name: str) -> bool:
    """Whether a key of a line is a score, and not the place or what all splits have in common."""
    return name not in _PLACE and not name.startswith(OF_LAYER)


@dataclass(frozen=True)
class MetricsPosition:
    """The part of metrics.jsonl that a resumed run keeps.

    Attributes:
        size: its length in bytes.
        seconds: training time at its end.
        epoch: the last epoch with a line.
        latest: the scores of that epoch; None if there are no lines.
    """

    size: int = 0
    seconds: float = 0.0
    epoch: int = 0
    latest: Record | None = None


def keep_until(path: Path, epoch: int, splits: tuple[str, ...], every: int) -> MetricsPosition:
    """Return the part of metrics.jsonl that was written by an uninterrupted run up to an epoch.

    The rest is dropped: epochs that will be trained again, the final lines of a finished run (test scores, a
    last epoch between two logged ones), and half a line.

    Args:
        path: the file; if missing, nothing is kept.
        epoch: the last epoch to keep.
        splits: the splits that are scored during training.
        every: trainer.log_every: epochs between two lines.
    """
    if not path.exists():
        return MetricsPosition()
    regular_file(path)
    size, lines = 0, list[dict[str, Any]]()  # those of the last epoch
    for line in _raw_lines(path):
        parsed = parsed_line(line)
        if parsed is None or not line.endswith(b"\n") or parsed["split"] not in splits:
            break
        # An epoch that is not a multiple of `every` was logged only because it was the last one.
        if parsed["epoch"] > epoch or (parsed["epoch"] == epoch and epoch % every):
            break
        if lines and parsed["epoch"] != lines[-1]["epoch"]:
            lines = []
        lines.append(parsed)
        size += len(line)
    if not lines:
        return MetricsPosition()
    record = record_of(lines)
    return MetricsPosition(size, record.seconds, record.epoch, record)


def _raw_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while line := stream.readline(LARGEST_LINE):
            yield line


def parsed_line(line: bytes) -> dict[str, Any] | None:
    """Return the values of a line, or None if mlpkit does not write such a line."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or not all(name.isidentifier() for name in values):
        return None
    numbers = {name: value for name, value in values.items() if name != "split"}
    are_numbers = all(value is None or _is_number(value) for value in numbers.values())
    has_position = all(type(values.get(name)) is int and values[name] >= 0 for name in ("epoch", "step"))
    has_split = values.get("split") in ("train", "val", "test") and _is_number(values.get("seconds"))
    return values if are_numbers and has_position and has_split else None


def _is_number(value: object) -> bool:
    """Whether it is a number small enough that a run can write it and a plot can show it."""
    return (type(value) is float and abs(value) < 1e200) or (type(value) is int and abs(value) < 2**53)
