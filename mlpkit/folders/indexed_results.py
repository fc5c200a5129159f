"""The results of all runs below some folders, of which those that have not changed come from the index."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from mlpkit.config import plugins
from mlpkit.errors import DataError
from mlpkit.folders.results import (
    Best,
    RunResult,
    changed,
    find_folders,
    read_result,
    read_results,
    runs_below,
)
from mlpkit.folders.run_index import COMPARED, RunIndex
from mlpkit.system.garbage import collection_paused

OWN = ("seed", "dataset.seed", "dataset.fold")  # settings that most runs of a sweep differ in


def results_below(paths: Sequence[Path], warn: Callable[[str], None]) -> list[RunResult]:
    """Return the results of all runs at or below some folders, from the index where it has them.

    Raises:
        DataError: as `find_runs` and `read_results`.
    """
    with collection_paused(), _index_of(paths) as index:
        return read_results(find_folders(paths, warn, index.is_known), warn, partial(_read, index))


def newest_group(root: str = "outputs") -> Path:
    """Return the parent folder of the newest run: a sweep, or the runs of one name.

    Raises:
        DataError: there is no run under `root`.
    """
    with _index_of([Path(root)]) as index:
        runs = [Path(run) for run in runs_below(Path(root), lambda problem: None, index.is_known)]
    if not runs:
        raise DataError(f"no run under {root}/; start some with `mlpkit train -m`, or name their folder")
    return max(runs, key=lambda run: (changed(run), run.name)).parent


def _index_of(paths: Sequence[Path]) -> RunIndex:
    """Return the index of results; runs that need a plug-in cannot be read without it."""
    used = sorted(plugin.sha256 or plugin.name for plugin in plugins.loaded())
    return RunIndex(" ".join(["result", *used]), COMPARED, paths)


def _read(index: RunIndex, folder: str) -> RunResult:
    """Return a run's result, from the index if it is kept there."""
    if known := index.find(folder, _result_of):
        return known
    result = read_result(Path(folder))
    if result.status == "unfinished":
        return result
    best = result.best and result.best.model_dump()
    own = {key: result.settings[key] for key in OWN if key in result.settings}
    shared = {**result.settings, **dict.fromkeys(own)}  # in which the keys have their places
    index.keep(folder, [own, result.status, result.task, best, result.seconds], shared)
    return result


_KEPT: TypeAdapter[tuple[dict[str, Any], str, str, Best | None, float | None]] = TypeAdapter(
    tuple[dict[str, Any], str, str, Best | None, float | None]
)


def _result_of(folder: str, content: str, shared: Any) -> RunResult:
    own, status, task, best, seconds = _KEPT.validate_json(content)
    settings = shared.copy()  # far faster than to build a dict from both
    settings.update(own)
    return RunResult(folder, settings, status, task, best, seconds)
