"""Lists runs and sweeps from their small files only, fast enough for tens of thousands of runs.

A run costs one folder listing and two or three small reads. Nothing is imported that reads configs: dataset
and model are found in the text of config.yaml, which mlpkit has written itself.
"""

import json
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mlpkit.errors import DataError
from mlpkit.folders.labels import NO_LABELS, Labels, labels_from
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_index import LISTED, RunIndex
from mlpkit.folders.sweep_folder import SweepFolder
from mlpkit.system.atomic_write import SUFFIX
from mlpkit.system.plain_json import LARGEST_JSON
from mlpkit.system.platform import BINARY, NO_FOLLOW, NO_WAIT

FINISHED = ("done", "stopped early", "pruned")
ENDED = (*FINISHED, "failed", "interrupted")  # statuses in summary.json
RUNNING, UNFINISHED, DAMAGED = "running", "unfinished", "damaged"  # there is no summary, or no readable one
STATUSES = (*ENDED, RUNNING, UNFINISHED, DAMAGED)

LARGEST = 1e150  # a number in a summary that is larger was not written by mlpkit

_RUN, _SWEEP = RunFolder(Path()), SweepFolder(Path())
_CONFIG, _SUMMARY, _LABELS = _RUN.config.name, _RUN.summary.name, _RUN.labels.name
_LOCK, _ENVIRONMENT, _LEDGER = _RUN.lock.name, _RUN.environment.name, _SWEEP.ledger.name
_EVENTS = _SWEEP.tensorboard.name
_LARGEST_HEAD = 16_384  # bytes of config.yaml in which dataset and model are looked for
_NAMES = re.compile(r"^(dataset|model):\n  name: (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class BestScore:
    """The best value of a run's monitored score."""

    split: str
    name: str
    value: float
    higher_is_better: bool

    @property
    def order(self) -> tuple[str, str, float]:
        """A sort key: scores of one kind together, the best first."""
        return self.split, self.name, -self.value if self.higher_is_better else self.value


@dataclass(frozen=True)
class ListedRun:
    """A run, as `mlpkit ls` shows it.

    Attributes:
        path: the run folder.
        changed: when config.yaml was written: at the start, or when the run was resumed; seconds since 1970.
        status: one of `STATUSES`.
        dataset: the dataset's name; empty if it is not known, as all that follow.
        model: the model's name.
        epochs: number of epochs trained.
        score: the best monitored score.
        labels: the user's tags and note.
    """

    path: Path
    changed: float
    status: str
    dataset: str = ""
    model: str = ""
    epochs: int | None = None
    score: BestScore | None = None
    labels: Labels = NO_LABELS


@dataclass
class ListedSweep:
    """A sweep and its runs."""

    path: Path
    changed: float
    labels: Labels = NO_LABELS
    runs: list[ListedRun] = field(default_factory=list)

    @property
    def best(self) -> ListedRun | None:
        """The run with the best score, if all runs have the same kind of score."""
        scored = [run for run in self.runs if run.score is not None and run.status != "pruned"]
        kinds = {(run.score.split, run.score.name) for run in scored if run.score is not None}
        return min(scored, key=lambda run: run.score.order if run.score else ()) if len(kinds) == 1 else None


Listed = ListedRun | ListedSweep


def list_runs(paths: Sequence[Path], warn: Callable[[str], None], open_sweeps: bool = True) -> list[Listed]:
    """Return the runs and sweeps at or anywhere below some folders, newest first; links are not followed.

    Args:
        paths: run folders, sweeps and folders of runs.
        warn: called for each folder that cannot be read.
        open_sweeps: whether a sweep among the paths stands for its runs.

    Raises:
        DataError: a path is not a folder.
    """
    by_path: dict[str, Listed] = {}
    real = str if len(paths) == 1 else os.path.realpath  # which costs more than reading a run
    for path in paths:
        if not path.is_dir():
            problem = "not a folder" if path.exists() else "no such folder"
            raise DataError(f"{path}: {problem}; name run folders, or folders of runs such as a sweep")
        with RunIndex("listed", LISTED, [path]) as index:
            below = _below(path, warn, index)
        for found in below:
            opened: Sequence[Listed] = [found]
            if open_sweeps and isinstance(found, ListedSweep) and found.path == path:
                opened = found.runs
            for each in opened:
                by_path.setdefault(real(each.path), each)
    return sorted(by_path.values(), key=newest_first)


def newest_first(found: Listed) -> tuple[float, str]:
    """Return a sort key that is smaller for a newer run or sweep; of equally old ones, for the first name."""
    return -found.changed, str(found.path)


def by_score(found: Listed) -> tuple[bool, tuple[str, str, float], tuple[float, str]]:
    """Return a sort key: each kind of score together, the best first; what has none comes last."""
    run = found.best if isinstance(found, ListedSweep) else found
    score = run.score if run else None
    return score is None, score.order if score else ("", "", 0.0), newest_first(found)


def _below(top: Path, warn: Callable[[str], None], index: RunIndex) -> list[Listed]:
    listed: list[Listed] = []
    folders: list[tuple[str, ListedSweep | None]] = [(str(top), None)]  # and the sweep around each
    while folders:
        folder, sweep = folders.pop()
        try:
            index.is_known(folder)
            run = index.find(folder, partial(_run_of, folder))
            found = {} if run else _entries(folder)
            if run is None and _is_run(folder, found):
                run = _read_run(folder, found)
                index.keep(folder, _plain(run))
            if run is not None:
                (listed if sweep is None else sweep.runs).append(run)
                continue
            if sweep is None and _is_file(found, _LEDGER):
                changed = found[_LEDGER].stat(follow_symlinks=False).st_mtime
                sweep = ListedSweep(Path(folder), changed, _labels(found))
                listed.append(sweep)
        except OSError as error:
            warn(f"left out: {error.filename or folder}: cannot be read ({error.strerror})")
            continue
        names = [name for name, entry in found.items() if entry.is_dir(follow_symlinks=False)]
        if _LEDGER in found:
            names = [name for name in names if name != _EVENTS]  # a folder for each run, and no run
        folders += [(found[name].path, sweep) for name in names if not is_left_over(name)]
    for each in listed:
        if isinstance(each, ListedSweep) and each.runs:
            each.runs.sort(key=lambda run: run.path.name)
            each.changed = max(run.changed for run in each.runs)
    return listed


def _entries(folder: str) -> dict[str, "os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        return {entry.name: entry for entry in entries}


def is_left_over(name: str) -> bool:
    """Whether a folder's name is that of one which a killed process was writing or removing."""
    return name.startswith(".") and name.endswith(SUFFIX)


def _is_run(folder: str, found: Mapping[str, "os.DirEntry[str]"]) -> bool:
    """Whether a folder is a run; `RunFolder.is_run` is asked where the names alone do not tell."""
    if not _is_file(found, _CONFIG):
        return False
    return _ENVIRONMENT in found or RunFolder(Path(folder)).is_run


def _is_file(found: Mapping[str, "os.DirEntry[str]"], name: str) -> bool:
    return name in found and found[name].is_file(follow_symlinks=False)


def _read_run(folder: str, found: Mapping[str, "os.DirEntry[str]"]) -> ListedRun:
    """Read a run; whatever cannot be read is left out, and a damaged summary shows in the status."""
    path, changed = Path(folder), found[_CONFIG].stat().st_mtime
    head = _read(found[_CONFIG].path, _LARGEST_HEAD, cut=True) or b""
    names = dict(_NAMES.findall(head.decode(errors="replace")))
    about = path, changed
    known = names.get("dataset", ""), names.get("model", "")
    labels = _labels(found)
    if _SUMMARY not in found:
        status = RUNNING if _LOCK in found and _is_held(path) else UNFINISHED
        return ListedRun(*about, status, *known, labels=labels)
    summary = _object(found[_SUMMARY].path) if _is_file(found, _SUMMARY) else None
    if not summary or summary.get("status") not in ENDED:
        return ListedRun(*about, DAMAGED, *known, labels=labels)
    epochs = summary.get("epochs")
    epochs = epochs if isinstance(epochs, int) and 0 <= epochs < LARGEST else None
    return ListedRun(*about, summary["status"], *known, epochs, _score(summary.get("best")), labels)


def _plain(run: ListedRun) -> list[Any]:
    """Return a run as JSON values; `_run_of` is the inverse."""
    score = run.score and [run.score.split, run.score.name, run.score.value, run.score.higher_is_better]
    labels = [list(run.labels.tags), run.labels.note]
    return [run.changed, run.status, run.dataset, run.model, run.epochs, score, labels]


def _run_of(folder: str, plain: Any, shared: None) -> ListedRun:
    changed, status, dataset, model, epochs, score, (tags, note) = plain
    labels = Labels(tuple(tags), note) if tags or note else NO_LABELS
    best = BestScore(*score) if score else None
    return ListedRun(Path(folder), changed, status, dataset, model, epochs, best, labels)


def _score(best: object) -> BestScore | None:
    if not isinstance(best, dict):
        return None
    split, name, value, higher = (best.get(key) for key in ("split", "score", "value", "higher_is_better"))
    if not (isinstance(split, str) and isinstance(name, str) and isinstance(higher, bool)):
        return None
    if not (isinstance(value, int | float) and -LARGEST < value < LARGEST):  # it may also be NaN
        return None
    return BestScore(split, name, float(value), higher)


def _labels(found: Mapping[str, "os.DirEntry[str]"]) -> Labels:
    if not _is_file(found, _LABELS):
        return NO_LABELS
    try:
        return labels_from(_object(found[_LABELS].path), Path(found[_LABELS].path))
    except DataError:
        return NO_LABELS


def _is_held(path: Path) -> bool:
    from mlpkit.system.lock import is_held  # imported only where there is a lock: it takes some time

    return is_held(RunFolder(path).lock)


def _object(path: str) -> dict[str, Any] | None:
    content = _read(path, LARGEST_JSON)
    with suppress(ValueError, RecursionError):
        found = json.loads(content or b"")
        return found if isinstance(found, dict) else None
    return None


def _read(path: str, most: int, cut: bool = False) -> bytes | None:
    """Return the content of a regular file; None if it cannot be read, or is larger and not to be cut."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | BINARY | NO_FOLLOW | NO_WAIT)
        try:
            about = os.fstat(descriptor)
            if stat.S_ISREG(about.st_mode) and (cut or about.st_size <= most):
                return os.read(descriptor, min(about.st_size, most))
        finally:
            os.close(descriptor)
    return None
