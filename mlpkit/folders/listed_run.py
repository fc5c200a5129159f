"""A run as `mlpkit ls` shows it, read from its small files only.

Nothing is imported that reads configs: dataset and model are found in the text of config.yaml, which mlpkit
has written itself. A run of one file costs the header of its checkpoint.
"""

import json
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from mlpkit.errors import DataError
from mlpkit.folders.labels import NO_LABELS, Labels, labels_from
from mlpkit.folders.run_folder import RunFolder
from mlpkit.system.plain_json import LARGEST_JSON
from mlpkit.system.platform import BINARY, NO_FOLLOW, NO_WAIT

FINISHED = ("done", "stopped early", "pruned")
ENDED = (*FINISHED, "failed", "interrupted")  # statuses in summary.json
RUNNING, UNFINISHED, DAMAGED = "running", "unfinished", "damaged"  # there is no summary, or no readable one
STATUSES = (*ENDED, RUNNING, UNFINISHED, DAMAGED)

LARGEST = 1e150  # a number in a summary that is larger was not written by mlpkit

_RUN = RunFolder(Path())
_CONFIG, _SUMMARY, _LABELS = _RUN.config.name, _RUN.summary.name, _RUN.labels.name
_LOCK, _ENVIRONMENT, _CHECKPOINTS = _RUN.lock.name, _RUN.environment.name, _RUN.last.parent.name
_LARGEST_HEAD = 16_384  # bytes of config.yaml in which dataset and model are looked for
_NAMES = re.compile(r"^(dataset|model):\n  name: (\S+)$", re.MULTILINE)
_DECODER = json.JSONDecoder()

Entries = Mapping[str, "os.DirEntry[str]"]  # of a folder, by name


class BestScore(NamedTuple):
    """The best value of a run's monitored score."""

    split: str
    name: str
    value: float
    higher_is_better: bool

    @property
    def order(self) -> tuple[str, str, float]:
        """A sort key: scores of one kind together, the best first."""
        return self.split, self.name, -self.value if self.higher_is_better else self.value


class ListedRun(NamedTuple):
    """A run, as `mlpkit ls` shows it.

    Attributes:
        folder: the run folder.
        changed: when config.yaml was written: at the start, or when the run was resumed; seconds since 1970.
            Of a run of one file, when that was written.
        status: one of `STATUSES`.
        dataset: the dataset's name; empty if it is not known, as all that follow.
        model: the model's name.
        epochs: number of epochs trained.
        score: the best monitored score.
        labels: the user's tags and note.
    """

    folder: str
    changed: float
    status: str
    dataset: str = ""
    model: str = ""
    epochs: int | None = None
    score: BestScore | None = None
    labels: Labels = NO_LABELS

    @property
    def path(self) -> Path:
        """The run folder; of a hundred thousand runs, only those that are worked on need it."""
        return Path(self.folder)


def is_run_folder(folder: str, found: Entries) -> bool:
    """Whether a folder is a run; `RunFolder.is_run` is asked where the names alone do not tell."""
    if _CONFIG not in found:
        is_folder = _CHECKPOINTS in found and found[_CHECKPOINTS].is_dir(follow_symlinks=False)
        return is_folder and RunFolder(Path(folder)).is_one_file
    return is_regular(found, _CONFIG) and (_ENVIRONMENT in found or RunFolder(Path(folder)).is_run)


def is_regular(found: Entries, name: str) -> bool:
    """Whether a folder has a regular file of this name."""
    return name in found and found[name].is_file(follow_symlinks=False)


def read_run(folder: str, found: Entries) -> ListedRun:
    """Read a run; whatever cannot be read is left out, and a damaged summary shows in the status."""
    if _CONFIG not in found:
        return _read_one_file(Path(folder), found)
    path, changed = Path(folder), found[_CONFIG].stat().st_mtime
    head = _read(found[_CONFIG].path, _LARGEST_HEAD, cut=True) or b""
    names = dict(_NAMES.findall(head.decode(errors="replace")))
    about = folder, changed
    known = names.get("dataset", ""), names.get("model", "")
    labels = labels_in(found)
    if _SUMMARY not in found:
        return ListedRun(*about, _status_without_summary(path, found), *known, labels=labels)
    summary = _object(found[_SUMMARY].path) if is_regular(found, _SUMMARY) else None
    return _summarized(about, known, summary, labels)


def _read_one_file(path: Path, found: Entries) -> ListedRun:
    from mlpkit.folders.header import read_header_parts  # imported only where there is such a run
    from mlpkit.folders.run_record import SUMMARY, record_of

    file, labels = RunFolder(path).last, labels_in(found)
    about = str(path), file.stat().st_mtime
    try:
        parts = {} if file.is_symlink() else read_header_parts(file)
    except DataError:
        parts = {}
    config = parts.get("config")
    known = _name_in(config, "dataset"), _name_in(config, "model")
    record = record_of(parts)
    if parts and SUMMARY not in record:
        return ListedRun(*about, _status_without_summary(path, found), *known, labels=labels)
    return _summarized(about, known, record.get(SUMMARY), labels)


def _name_in(config: object, section: str) -> str:
    part = config.get(section) if isinstance(config, dict) else None
    name = part.get("name") if isinstance(part, dict) else None
    return name if isinstance(name, str) and name.isprintable() and " " not in name else ""


def _status_without_summary(path: Path, found: Entries) -> str:
    return RUNNING if _LOCK in found and _is_held(path) else UNFINISHED


def _summarized(about: tuple[str, float], known: tuple[str, str], summary: Any, labels: Labels) -> ListedRun:
    """Return the run that a summary describes; a damaged one if it is none."""
    if not isinstance(summary, dict) or summary.get("status") not in ENDED:
        return ListedRun(*about, DAMAGED, *known, labels=labels)
    epochs = summary.get("epochs")
    epochs = epochs if isinstance(epochs, int) and 0 <= epochs < LARGEST else None
    return ListedRun(*about, summary["status"], *known, epochs, _score(summary.get("best")), labels)


def plain_of(run: ListedRun) -> list[Any]:
    """Return a run as JSON values; `run_of_text` is the inverse."""
    score = run.score and [run.score.split, run.score.name, run.score.value, run.score.higher_is_better]
    labels = [list(run.labels.tags), run.labels.note]
    return [run.changed, run.status, run.dataset, run.model, run.epochs, score, labels]


def run_of_text(folder: str, content: str, shared: None) -> ListedRun:
    """Return the run in a folder from its JSON values as text; `shared` is not used."""
    changed, status, dataset, model, epochs, score, (tags, note) = _DECODER.raw_decode(content)[0]
    is_right = (
        isinstance(changed, float)
        and status in STATUSES
        and isinstance(dataset, str)
        and isinstance(model, str)
        and (epochs is None or isinstance(epochs, int))
        and isinstance(note, str)
        and all(isinstance(tag, str) for tag in tags or ())
    )
    if score:
        split, name, value, _ = score
        is_right &= isinstance(split, str) and isinstance(name, str) and isinstance(value, float)
    if not is_right:
        raise ValueError("a damaged index")
    labels = Labels(tuple(tags), note) if tags or note else NO_LABELS
    best = BestScore(*score) if score else None
    return ListedRun(folder, changed, status, dataset, model, epochs, best, labels)


def _score(best: object) -> BestScore | None:
    if not isinstance(best, dict):
        return None
    split, name, value, higher = (best.get(key) for key in ("split", "score", "value", "higher_is_better"))
    if not (isinstance(split, str) and isinstance(name, str) and isinstance(higher, bool)):
        return None
    if not (isinstance(value, int | float) and -LARGEST < value < LARGEST):  # it may also be NaN
        return None
    return BestScore(split, name, float(value), higher)


def labels_in(found: Entries) -> Labels:
    """Return the labels in a folder; none if they cannot be read."""
    if not is_regular(found, _LABELS):
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
