"""test-looks.jsonl in run.root: a line for each command that scored a test split of the runs in it.

Each look at the test split is a chance to choose by it. The file makes their number known. A run gives one
line, a sweep one for each dataset. A line is written whole or not at all; only a killed process can leave a
part of one, which is not counted.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlpkit.errors import DataError, MlpkitError
from mlpkit.folders.header import read_header_parts
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_record import read_summary
from mlpkit.system.append_file import append_line
from mlpkit.system.paths import expand
from mlpkit.system.plain_json import to_json

NAME = "test-looks.jsonl"
LEVELS = 4  # folders above a run that may hold the file: sweep, name, root and one more
LONGEST_COMMAND = 500  # characters
LARGEST_FILE = 100_000_000  # bytes that are read

NONE_BEFORE: Mapping[Path, int] = {}

Warn = Callable[[str], None]


@dataclass(frozen=True)
class Look:
    """A line of the file.

    Attributes:
        time: when, as text.
        fingerprint: of the dataset.
        path: the run or the sweep, relative to the file's folder.
        command: the command line.
    """

    time: str
    fingerprint: str
    path: str
    command: str


@contextmanager
def looks_recorded(folder: Path, command: str, warn: Warn) -> Iterator[None]:
    """Record that a run or a sweep scores test splits in the block, also if the block fails.

    Args:
        folder: a run folder or a sweep.
        command: the command line.
        warn: called with the reason if they cannot be recorded; this is not an error.
    """
    before = _summaries(folder)
    try:
        yield
    finally:
        record_training(folder, command, warn, before)


def record_training(folder: Path, command: str, warn: Warn, before: Mapping[Path, int] = NONE_BEFORE) -> None:
    """Append a line for each dataset on whose test split a run, or a sweep's runs, were scored.

    Args:
        folder: a run folder or a sweep.
        command: the command line.
        warn: see `looks_recorded`.
        before: runs and when their summaries were changed; they count only if they have changed since.
    """
    new = [run for run, changed in _summaries(folder).items() if before.get(run) != changed]
    scored = dict.fromkeys(map(_scored, new))
    for root, fingerprint in (each for each in scored if each is not None):
        record_look(folder, root, fingerprint, command, warn)


def _summaries(folder: Path) -> dict[Path, int]:
    """Return a run, or the runs of a sweep, that have a summary, and when it was changed."""
    runs = [folder] if RunFolder(folder).is_run else sorted(folder.iterdir())
    files = {run: _with_summary(RunFolder(run)) for run in runs}
    return {run: file.stat().st_mtime_ns for run, file in files.items() if file is not None}


def _with_summary(folder: RunFolder) -> Path | None:
    """Return the file that a run's summary is in, if it has one."""
    if folder.summary.is_file():
        return folder.summary
    return folder.last if folder.is_one_file else None


def record_look(folder: Path, root: str | None, fingerprint: str, command: str, warn: Warn) -> None:
    """Append a line to the file beside a run or a sweep.

    Args:
        folder: the run or the sweep.
        root: its run.root; None if it is not known.
        fingerprint: of the dataset.
        command: the command line.
        warn: called with the reason if the line cannot be written.
    """
    try:
        file = _file_for(folder.resolve(), root)
        if file is None:
            return  # the run is not in its run.root: nothing is written beside it
        if not os.access(file if file.exists() else file.parent, os.W_OK):
            return  # a read-only folder: looks are not counted there
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "fingerprint": fingerprint,
            "path": str(folder.resolve().relative_to(file.parent)),
            "command": command[:LONGEST_COMMAND],
        }
        append_line(file, to_json(line))
    except (MlpkitError, OSError, ValueError) as error:
        warn(f"warning: this look at the test split is not counted: {error}")


def looks_at(folder: Path, fingerprint: str) -> list[Look]:
    """Return the looks at the test split of a dataset, from the files beside a run and above it."""
    looks = []
    for above in list(folder.resolve().parents)[:LEVELS]:
        if (above / NAME).is_file() and not (above / NAME).is_symlink():
            looks += [look for look in _read(above / NAME) if look.fingerprint == fingerprint]
    return looks


def _file_for(folder: Path, root: str | None) -> Path | None:
    """Return the file above a run if there is one, else that in run.root; None for a run outside of it.

    A foreign config may name any folder as run.root: one far above the run is not written to.
    """
    above = list(folder.parents)[:LEVELS]
    for each in above:
        if (each / NAME).is_file():
            return each / NAME
    top = expand(root).resolve() if root is not None else None
    return top / NAME if top in above else None


def _scored(run: Path) -> tuple[str | None, str] | None:
    """Return run.root and the dataset's fingerprint of a run whose summary has test scores; else None."""
    folder = RunFolder(run)
    try:
        summary = read_summary(folder)
        best = summary.get("best")
        if "test" not in summary and not (isinstance(best, dict) and "test" in best):
            return None
        parts = read_header_parts(folder.last)
    except (DataError, OSError):
        return None
    config = parts.get("config")
    place = config.get("run") if isinstance(config, dict) else None
    root = place.get("root") if isinstance(place, dict) else None
    return root if isinstance(root, str) else None, str(parts.get("fingerprint", ""))


def _read(path: Path) -> Iterator[Look]:
    """Yield the lines that can be read: the file may be foreign, or end with a part of a line."""
    with suppress(OSError), path.open(encoding="utf-8", errors="replace") as stream:
        if path.stat().st_size > LARGEST_FILE:
            return
        for line in stream:
            with suppress(ValueError, RecursionError):
                found: Any = json.loads(line)
                names = ("time", "fingerprint", "path", "command")
                if isinstance(found, dict) and all(isinstance(found.get(name), str) for name in names):
                    yield Look(*(found[name] for name in names))
