"""What a tracker, such as MLflow, is told of a run: read from the run folder, in no tracker's own terms."""

import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from mlpkit.config.config import Config
from mlpkit.errors import DataError
from mlpkit.folders.labels import Labels, read_labels
from mlpkit.folders.metrics_file import Record, read_metrics, record_of
from mlpkit.folders.results import RunResult, read_config, read_result, settings_of
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_name import run_name
from mlpkit.folders.sweep_folder import is_sweep
from mlpkit.system.plain_json import read_object, write_json

RUNNING = "running"

_EVERY = 1000  # epochs from which on a curve has fewer points than epochs
_LONGEST_NAME = 250  # characters
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Point:
    """A score at a step, or another number of the run; `seconds` is the training time up to there."""

    name: str
    value: float
    step: int
    seconds: float


@dataclass(frozen=True)
class TrackedRun:
    """The content of a run folder.

    Attributes:
        folder: the run folder.
        id: names the run wherever its folder is, and if it is resumed.
        group: the dataset and the model, or run.name; of a run in a sweep, the sweep's folder.
        name: the settings that vary in the sweep; of a run alone, the folder's name.
        status: running, or one of a summary's; `unfinished` if its process was killed.
        started: when training began, in seconds since 1970, as far as the folder tells.
        ended: when the run ended; None if it has no summary.
        settings: all settings by dotted key, as text.
        labels: the user's tags and note.
        points: the curves and the best epoch's scores.
        files: the files that make up a run folder, by their path in it.
    """

    folder: Path
    id: str
    group: str
    name: str
    status: str
    started: float
    ended: float | None
    settings: Mapping[str, str]
    labels: Labels
    points: Sequence[Point]
    files: Mapping[str, Path]


def read_tracked(folder: RunFolder, is_running: bool = False) -> TrackedRun:
    """Read a run folder, which must be locked; give it an id if it has none.

    Args:
        folder: the run folder.
        is_running: the run is being trained: its files are not complete.

    Raises:
        DataError: the run folder is damaged.
        WriteError: the id cannot be written.
    """
    config, result, labels = read_config(folder), read_result(folder.path), read_labels(folder.labels)
    group, name = _names(folder, config)
    points = _curves(folder)
    seconds = max((point.seconds for point in points), default=0.0)
    if not is_running:
        points += _best(result, seconds)
    summary = folder.last if folder.is_one_file else folder.summary
    ended = summary.stat().st_mtime if summary.exists() and result.status != "unfinished" else None
    return TrackedRun(
        folder=folder.path.resolve(),
        id=_id(folder),
        group=group,
        name=name,
        status=RUNNING if is_running else result.status,
        started=min(folder.config_file.stat().st_mtime, (ended or float("inf")) - seconds),
        ended=ended,
        settings={key: _text(value) for key, value in settings_of(config).items()},
        labels=labels,
        points=points,
        files={} if is_running else dict(_files(folder)),
    )


def points_of(record: Record) -> list[Point]:
    """Return a record's scores, as in val_accuracy, and its learning rate; none for values not finite."""
    scores = {f"{split}_{name}": value for split, of in record.scores.items() for name, value in of.items()}
    return [
        Point(name, value, record.step, record.seconds)
        for name, value in {**scores, **record.extra}.items()
        if value is not None and isfinite(value)
    ]


def is_kept(epoch: int) -> bool:
    """Whether a curve has a point for an epoch: each of the first 999, then of a decade 900 evenly spaced.

    So the longest run has some thousand points. It depends on the epoch alone, since a run that is still
    being trained does not know its last one.
    """
    return epoch < _EVERY or epoch % 10 ** (len(str(epoch)) - 3) == 0


def _curves(folder: RunFolder) -> list[Point]:
    lines = read_metrics(folder.metrics) if folder.metrics.exists() else []
    last = lines[-1]["epoch"] if lines else 0
    kept = (record_of([line]) for line in lines if is_kept(line["epoch"]) or line["epoch"] == last)
    found = {(point.name, point.step): point for record in kept for point in points_of(record)}
    return list(found.values())


def _best(result: RunResult, seconds: float) -> list[Point]:
    """Return the scores of the best epoch, as in best_val_accuracy."""
    best = result.best
    if best is None:
        return []
    scores = {split: best.scores(split) for split in ("train", "val", "test")}
    extra = {"epoch": float(best.epoch)}
    found = points_of(Record(best.epoch, best.step, scores, seconds, extra, 0.0))
    return [Point(f"best_{point.name}", point.value, point.step, point.seconds) for point in found]


def _names(folder: RunFolder, config: Config) -> tuple[str, str]:
    path = folder.path.resolve()
    if not is_sweep(path.parent):
        return config.run.name or f"{config.dataset.title()}-{config.model.name}", path.name
    return f"{path.parent.parent.name}/{path.parent.name}", run_name(folder)[:_LONGEST_NAME] or path.name


def _files(folder: RunFolder) -> Iterator[tuple[str, Path]]:
    """Yield the files that make the run usable elsewhere; links are left out."""
    folder = RunFolder(folder.path.resolve())
    model = folder.best if folder.best.exists() else folder.last
    pictures = sorted(folder.plots.glob("*.png")) if not folder.plots.is_symlink() else []
    for path in (*folder.files, model, *pictures):
        if path != folder.lock and path.is_file() and not (path.is_symlink() or path.parent.is_symlink()):
            yield path.relative_to(folder.path).as_posix(), path


def _id(folder: RunFolder) -> str:
    if not folder.tracking.exists():
        write_json(folder.tracking, {"id": secrets.token_hex(16)})
    found = read_object(folder.tracking).get("id")
    if not (isinstance(found, str) and _ID.fullmatch(found)):
        raise DataError(f"{folder.tracking}: holds no id of a run; remove the file")
    return found


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
