"""Follows a run that another process trains: reads only what was appended to its files."""

import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mlpkit.errors import DataError
from mlpkit.folders.metrics_file import Record, parsed_line, record_of
from mlpkit.folders.run_folder import RunFolder
from mlpkit.system.plain_json import regular_file
from mlpkit.system.platform import BINARY, NO_FOLLOW, NO_WAIT

MOST_POINTS = 4_096  # of a curve; a longer one loses every second point
LARGEST_START = 1 << 23  # bytes of metrics.jsonl that are read at first: the end of a longer file
LARGEST_STEP = 1 << 22  # bytes that are read at once
_LARGEST_HEAD = 1 << 16  # bytes of config.yaml
_EPOCHS = re.compile(r"^trainer:\n(?:  .*\n)*?  epochs: ([0-9]{1,15})$", re.MULTILINE)
_MONITOR = re.compile(r"^trainer:\n(?:  .*\n)*?  monitor: ([A-Za-z0-9_.]{1,100})$", re.MULTILINE)


@dataclass
class Curve:
    """A value by epoch, with a bounded number of points."""

    epochs: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    _every: int = 1
    _seen: int = 0

    def add(self, epoch: int, value: float) -> None:
        """Add a point; the last point is always the newest."""
        if self._seen and (self._seen - 1) % self._every:  # the last point was kept only as the newest
            self.epochs.pop()
            self.values.pop()
        self._seen += 1
        self.epochs.append(epoch)
        self.values.append(value)
        if len(self.epochs) > MOST_POINTS:
            del self.epochs[1::2], self.values[1::2]
            self._every *= 2


@dataclass(frozen=True)
class Appended:
    """The lines added to a file since the last read, and whether the file is a new one."""

    lines: list[bytes]
    is_new: bool


class Tail:
    """Reads the lines that are appended to a file, which may also be truncated or replaced."""

    def __init__(self, path: Path) -> None:
        """Start before the first line."""
        self.path = path
        self._file: tuple[int, int] | None = None
        self._position, self._rest = 0, b""

    def read(self) -> Appended:
        """Return the lines completed since the last call; none if the file cannot be read."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | BINARY | NO_FOLLOW | NO_WAIT)
        except OSError:
            return Appended([], False)
        try:
            about = os.fstat(descriptor)
            file, size = (about.st_dev, about.st_ino), about.st_size
            if not stat.S_ISREG(about.st_mode):
                return Appended([], False)
            is_new = file != self._file or size < self._position
            if is_new:
                self._file, self._position, self._rest = file, max(0, size - LARGEST_START), b""
            skip = is_new and self._position > 0  # half a line
            os.lseek(descriptor, self._position, os.SEEK_SET)
            parts = [self._rest]
            while chunk := os.read(descriptor, min(LARGEST_STEP, max(0, size - self._position))):
                parts.append(chunk)
                self._position += len(chunk)
        except OSError:
            return Appended([], False)
        finally:
            os.close(descriptor)
        *lines, self._rest = b"".join(parts).split(b"\n")
        return Appended(lines[1:] if skip else lines, is_new)


class FollowedRun:
    """The curves of a run, read from its files.

    Attributes:
        folder: the run folder.
        total: number of epochs to train; None if the config does not say.
        scores: the curve of each score, by split and name.
        extra: the curves of lr, grad_norm and the norms by layer.
        latest: the newest record; None before the first.
    """

    def __init__(self, path: Path) -> None:
        """Read what is there."""
        self.folder = RunFolder(path)
        self._tail = Tail(self.folder.metrics)
        self._config_changed = -1
        self.total: int | None = None
        self._monitor = "auto"
        self._forget()
        self.update()

    def _forget(self) -> None:
        self.scores: dict[tuple[str, str], Curve] = {}
        self.extra: dict[str, Curve] = {}
        self.latest: Record | None = None
        self._times: list[tuple[int, float]] = []  # epochs and seconds of the last 100 records

    def update(self) -> None:
        """Read what was appended."""
        self._read_config()
        appended = self._tail.read()
        if appended.is_new:
            self._forget()
        for line in appended.lines:
            if (values := parsed_line(line)) is not None:
                self._add(record_of([values]))

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self.latest.epoch if self.latest else 0

    @property
    def speed(self) -> float | None:
        """Epochs per second over the last 100 records; None if it is not known yet."""
        if len(self._times) < 2:
            return None
        (first, started), (last, ended) = self._times[0], self._times[-1]
        return (last - first) / (ended - started) if last > first and ended > started else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the last epoch, if nothing stops the run earlier."""
        speed = self.speed
        return None if not speed or self.total is None else max(0, self.total - self.epoch) / speed

    @property
    def monitored(self) -> tuple[str, str]:
        """The split and the score that decide the best epoch; `auto` is resolved from the logged scores."""
        split, _, score = self._monitor.rpartition(".")
        split = split or ("val" if any(key[0] == "val" for key in self.scores) else "train")
        names = [name for of, name in self.scores if of == split]
        if score == "auto":
            score = next((name for name in ("accuracy", "exact_match") if name in names), "loss")
        return split, score

    def best(self, higher_is_better: bool) -> tuple[float, int] | None:
        """Return the best monitored value of the points kept and its epoch; of equals, that of least loss."""
        curve = self.scores.get(self.monitored)
        if curve is None:
            return None
        losses = self.scores.get((self.monitored[0], "loss"), curve)
        of_epoch, sign = dict(zip(losses.epochs, losses.values, strict=True)), -1 if higher_is_better else 1
        ranked = (
            (sign * value, of_epoch.get(epoch, 0.0), epoch)
            for epoch, value in zip(curve.epochs, curve.values, strict=True)
        )
        value, _, epoch = min(ranked)
        return sign * value, epoch

    def _add(self, record: Record) -> None:
        if (
            self.latest is not None and record.epoch < self.latest.epoch
        ):  # the file was truncated and has grown again
            self._forget()
        for split, scores in record.scores.items():
            for name, value in scores.items():
                if value is not None:
                    self.scores.setdefault((split, name), Curve()).add(record.epoch, value)
        if self.latest is not None and self.latest.epoch == record.epoch:  # another split
            return
        self.latest = record
        for name, value in record.extra.items():
            if value is not None:
                self.extra.setdefault(name, Curve()).add(record.epoch, value)
        self._times.append((record.epoch, record.seconds))
        del self._times[:-100]

    def _read_config(self) -> None:
        with suppress(OSError, DataError):
            regular_file(self.folder.config)
            changed = self.folder.config.stat().st_mtime_ns
            if changed == self._config_changed:
                return
            self._config_changed = changed
            with self.folder.config.open("rb") as stream:
                text = stream.read(_LARGEST_HEAD).decode(errors="replace")
            self.total = int(found[1]) if (found := _EPOCHS.search(text)) else None
            self._monitor = found[1] if (found := _MONITOR.search(text)) else "auto"
