"""How many cores this process may use, and how many of them other programs leave free.

Linux says it in files: the cores that the process is bound to, the quota of its control groups (as of a
container), and the time that has been computed on each core. Where a file is missing, nothing is known of
others, and what may be used counts as free.
"""

import os
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mlpkit.system.platform import ticks_per_second, usable_cores

ROOT = Path("/")
SHORTEST = 0.2  # seconds to look at, since the files count in hundredths
IDLE = (3, 4)  # the columns of /proc/stat that say idle, and waiting for a disk
GUESTS = 8  # columns of /proc/stat before those that are counted in others already


class Limit(NamedTuple):
    """What a control group may use.

    Attributes:
        cores: 1.5 where it may compute for 1.5 seconds in a second.
        folder: of the group.
    """

    cores: float
    folder: Path


class Moment(NamedTuple):
    """Seconds that have been computed until a moment; None where it is not known.

    Attributes:
        wall: of the clock.
        own: by this process and those it has waited for.
        on_cores: by everybody, on the cores that this process may use.
        in_group: by everybody in the control group that limits this process.
    """

    wall: float
    own: float
    on_cores: float | None
    in_group: float | None


class Load:
    """Looks at what other programs use."""

    def __init__(self, root: Path = ROOT) -> None:
        """Begin to look.

        Args:
            root: where /proc and /sys are.
        """
        self.root, self.cores, self.limit = root, usable_cores(), limit_of(root)
        self.allowed = (
            float(len(self.cores)) if self.limit is None else min(len(self.cores), self.limit.cores)
        )
        self.before = self._moment()
        self.last = self.allowed

    def free(self) -> float:
        """Return how many cores others have left free since the last look, 1.5 say."""
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
    """Return the tightest quota of the process's control groups, or None without one.

    Args:
        root: where /proc and /sys are.
    """
    limits = (_limit(folder) for folder in _groups(root))
    return min((limit for limit in limits if limit is not None), default=None)


def computed_on(stat: Path, cores: Collection[int]) -> float | None:
    """Return the seconds that were computed on some cores, by everybody; None where it is not known.

    Args:
        stat: /proc/stat.
        cores: their numbers.
    """
    ticks, seen = 0, 0
    for line in _lines(stat):
        name, *columns = line.split()
        if name.startswith("cpu") and name[3:].isdecimal() and int(name[3:]) in cores:
            seen += 1
            ticks += sum(int(n) for column, n in enumerate(columns[:GUESTS]) if column not in IDLE)
    return ticks / ticks_per_second() if seen == len(cores) else None


def computed_in(folder: Path) -> float | None:
    """Return the seconds that the processes of a control group have computed; None where it is not known."""
    for line in _lines(folder / "cpu.stat"):  # version 2
        if line.startswith("usage_usec "):
            return int(line.split()[1]) / 1e6
    for line in _lines(folder / "cpuacct.usage"):  # version 1
        return int(line) / 1e9
    return None


def _groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the process's control groups and of all above them.

    In a container the path may be the host's, and what is mounted is the container's own folder.
    """
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "name=systemd"):  # version 2, which knows no separate ones
            base = root / "sys/fs/cgroup"
        elif "cpu" in controllers.split(","):
            base = root / "sys/fs/cgroup/cpu"
        else:
            continue
        inside = PurePosixPath(path.lstrip("/"))
        yield from (base / part for part in (inside, *inside.parents) if ".." not in part.parts)


def _limit(folder: Path) -> Limit | None:
    """Return what a control group may use, by either version's files."""
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


# ------------------------------------------------------------------------------------ of this process

_load: Load | None = None


def begin() -> None:
    """Begin to look at what others use: the sooner, the more is known when threads are chosen."""
    global _load
    _load = Load()


def allowed() -> float:
    """Return how many cores this process may use; 1.5 where a quota allows that much."""
    return (_load or Load()).allowed


def free() -> float:
    """Return how many of them others leave free; all of them in a process that has not begun to look."""
    return _load.free() if _load else allowed()


def whole(cores: float) -> int:
    """Return how many threads some cores are good for."""
    return max(1, int(cores + 0.5))
