"""How many cores this process may use, and how many of them other programs leave free.

Linux has files for it: the process's CPU affinity, the quotas of its control groups (such as a container's),
and the processor time used on each core. If a file is missing, all cores that may be used count as free.
"""

import os
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mlpkit.system.platform import ticks_per_second, usable_cores

ROOT = Path("/")
SHORTEST = 0.2  # seconds between measurements, since the files count hundredths of a second
IDLE = (3, 4)  # columns idle and iowait of /proc/stat
GUESTS = 8  # first column of /proc/stat whose time is included in other columns (guest)


class Limit(NamedTuple):
    """The quota of a control group.

    Attributes:
        cores: seconds of processor time that it may use per second, such as 1.5.
        folder: the group's folder below /sys/fs/cgroup.
    """

    cores: float
    folder: Path


class Moment(NamedTuple):
    """Processor time used up to a moment, in seconds; None if unknown.

    Attributes:
        wall: time of the clock.
        own: time used by this process and its finished children.
        on_cores: time used by all processes on the cores that this process may use.
        in_group: time used by all processes in the control group that limits this process.
    """

    wall: float
    own: float
    on_cores: float | None
    in_group: float | None


class Load:
    """Measures how many cores other programs use."""

    def __init__(self, root: Path = ROOT) -> None:
        """Start measuring.

        Args:
            root: folder that contains proc and sys.
        """
        self.root, self.cores, self.limit = root, usable_cores(), limit_of(root)
        self.allowed = (
            float(len(self.cores)) if self.limit is None else min(len(self.cores), self.limit.cores)
        )
        self.before = self._moment()
        self.last = self.allowed

    def free(self) -> float:
        """Return how many cores other programs have left free since the last measurement, such as 1.5."""
        now, before = self._moment(), self.before
        if now.wall - before.wall >= SHORTEST:
            self.before, self.last = now, self._free(before, now)
        return self.last

    def _free(self, before: Moment, now: Moment) -> float:
        seconds, own = now.wall - before.wall, now.own - before.own
        free = self.allowed
        for whole, then, until in (
            (len(self.cores), before.on_cores, now.on_cores),
            (self.allowed, before.in_group, now.in_group),
        ):
            if then is not None and until is not None:
                free = min(free, whole - max(0.0, until - then - own) / seconds)
        return max(0.0, free)

    def _moment(self) -> Moment:
        times = os.times()
        return Moment(
            time.monotonic(),
            time.process_time() + times.children_user + times.children_system,
            computed_on(self.root / "proc/stat", self.cores),
            None if self.limit is None else computed_in(self.limit.folder),
        )


def limit_of(root: Path = ROOT) -> Limit | None:
    """Return the smallest quota of the process's control groups; None if there is none.

    Args:
        root: folder that contains proc and sys.
    """
    limits = (_limit(folder) for folder in _groups(root))
    return min((limit for limit in limits if limit is not None), default=None)


def computed_on(stat: Path, cores: Collection[int]) -> float | None:
    """Return the processor time that all processes have used on some cores, in seconds; None if unknown.

    Args:
        stat: path of /proc/stat.
        cores: numbers of the cores.
    """
    ticks, seen = 0, 0
    for line in _lines(stat):
        name, *columns = line.split()
        if name.startswith("cpu") and name[3:].isdecimal() and int(name[3:]) in cores:
            seen += 1
            ticks += sum(int(n) for column, n in enumerate(columns[:GUESTS]) if column not in IDLE)
    return ticks / ticks_per_second() if seen == len(cores) else None


def computed_in(folder: Path) -> float | None:
    """Return the processor time used by a control group, in seconds; None if unknown."""
    for line in _lines(folder / "cpu.stat"):  # version 2
        if line.startswith("usage_usec "):
            return int(line.split()[1]) / 1e6
    for line in _lines(folder / "cpuacct.usage"):  # version 1
        return int(line) / 1e9
    return None


def _groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the process's control groups and of their parents.

    In a container the path may be the host's, while the mounted folder is the container's own group.
    """
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "name=systemd"):  # version 2: one hierarchy for all controllers
            base = root / "sys/fs/cgroup"
        elif "cpu" in controllers.split(","):
            base = root / "sys/fs/cgroup/cpu"
        else:
            continue
        inside = PurePosixPath(path.lstrip("/"))
        yield from (base / part for part in (inside, *inside.parents) if ".." not in part.parts)


def _limit(folder: Path) -> Limit | None:
    """Return the quota of a control group, from the files of version 2 or 1."""
    words = " ".join(_lines(folder / "cpu.max")).split()  # version 2: quota and period
    if not words:
        words = [*_lines(folder / "cpu.cfs_quota_us"), *_lines(folder / "cpu.cfs_period_us")]
    if len(words) != 2 or not all(word.strip().isdecimal() for word in words):  # max, -1
        return None
    quota, period = map(int, words)
    return Limit(quota / period, folder) if quota and period else None


def _lines(path: Path) -> list[str]:
    with suppress(OSError):
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    return []


# --------------------------------------------------------------------------------------- this process

_load: Load | None = None


def begin() -> None:
    """Start measuring; call it early, so that there is a measurement when threads are chosen."""
    global _load
    _load = Load()


def allowed() -> float:
    """Return how many cores this process may use; with a quota it may be a fraction, such as 1.5."""
    return (_load or Load()).allowed


def free() -> float:
    """Return how many of them other programs leave free; all of them if `begin` was not called."""
    return _load.free() if _load else allowed()


def whole(cores: float) -> int:
    """Return the number of threads for a number of cores: rounded, at least 1."""
    return max(1, int(cores + 0.5))
