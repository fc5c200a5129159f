"""How much memory this process may still take.

Linux has files for it: what is available, and the limits of the process's control groups (such as a
container's). On macOS and Windows, what a program can ask for without other libraries is used.
"""

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from mlpkit.system.platform import memory_limit, physical_memory

ROOT = Path("/")


def free_memory(root: Path = ROOT) -> int:
    """Return the bytes that are free: the least of what the machine has, and of what limits leave.

    Args:
        root: folder that contains proc and sys.
    """
    found = [physical_memory()]
    if sys.platform == "linux":
        found += [*_available(root), *(left for left in map(_left, _groups(root)) if left is not None)]
    if (limit := memory_limit()) is not None:
        found.append(limit)
    return max(0, min(found))


def _available(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the control groups that limit memory, and of their parents."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):  # version 2, or 1
            base = root / "sys/fs/cgroup" / controllers
            inside = PurePosixPath(path.lstrip("/"))
            yield from (base / part for part in (inside, *inside.parents) if ".." not in part.parts)


def _left(folder: Path) -> int | None:
    """Return the bytes that a control group may still take; what it holds of files it can give back."""
    limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
    used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes")
    if limit is None or used is None:
        return None
    statistics = dict(line.split() for line in _lines(folder / "memory.stat") if line.count(" ") == 1)
    of_files = int(statistics.get("total_inactive_file", statistics.get("inactive_file", "0")))
    return limit - used + of_files


def _number(path: Path) -> int | None:
    words = _lines(path)
    return int(words[0]) if words and words[0].isdecimal() else None  # not `max`


def _lines(path: Path) -> list[str]:
    with suppress(OSError):
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    return []
