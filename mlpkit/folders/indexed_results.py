"""The results of all runs below some folders, of which those that have not changed come from the index."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from mlpkit.config import plugins
from mlpkit.errors import DataError
from mlpkit.folders.found_runs import changed, find_folders, runs_below
from mlpkit.folders.results import Best, RunResult, read_result, read_results
from mlpkit.folders.run_index import COMPARED, RunIndex
from mlpkit.folders.shared_settings import SharedSettings
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
    return RunIndex(" ".join(["result 2", *used]), COMPARED, paths, _shared_of)


def _read(index: RunIndex, folder: str) -> RunResult:
    """Return a run's result, from the index if it is kept there."""
    if known := index.find(folder, _result_of):
        return known
    result = read_result(Path(folder))
    if result.status == "unfinished":
        return result
    own = {key: result.settings[key] for key in OWN if key in result.settings}
    # In what is shared, all keys have their places.
    shared: dict[str, Any] = {"settings": {**result.settings, **dict.fromkeys(own)}}
    best = result.best
    if best is not None:
        shared |= {"best": [best.split, best.score, best.higher_is_better], "names": best.names}
    numbers = best and [best.value, best.epoch, best.step, best.values]
    index.keep(folder, [own, result.status, result.task, numbers, result.seconds], shared)
    return result


class _Shared(BaseModel):
    """What many runs have in common."""

    model_config = ConfigDict(strict=True)

    settings: dict[str, Any]
    best: tuple[str, str, bool] | None = None  # split, score and higher_is_better of `Best`
    names: list[tuple[str, str]] = []


def _shared_of(content: str) -> _Shared:
    return _Shared.model_validate_json(content)


_Numbers = tuple[float, int, int, list[float | None]]  # value, epoch, step and values of `Best`
_Kept = tuple[dict[str, str | int | float | bool | None], str, str, _Numbers | None, float | None]
_KEPT: TypeAdapter[_Kept] = TypeAdapter(_Kept)


def _result_of(folder: str, content: str, shared: _Shared) -> RunResult:
    own, status, task, numbers, seconds = _KEPT.validate_json(content)
    best = None
    if numbers is not None:
        value, epoch, step, values = numbers
        if shared.best is None or len(values) != len(shared.names):
            raise ValueError("a damaged index")
        best = Best(*shared.best, value, epoch, step, shared.names, values)
    return RunResult(folder, SharedSettings(shared.settings, own), status, task, best, seconds)
