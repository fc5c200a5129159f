"""Chooses the runs of a sweep that a film shows side by side, and labels them by what varies."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlpkit.analysis.compare import compare
from mlpkit.analysis.keys import all_keys, distinguishing_keys, find_key, values_of
from mlpkit.config.nested import shorten
from mlpkit.config.problems import show
from mlpkit.errors import ConfigError
from mlpkit.folders.indexed_results import results_below
from mlpkit.folders.results import RunResult
from mlpkit.folders.run_folder import RunFolder

MOST_RUNS = 16


def filmed_runs(sweep: Path, by: str | None, note: Callable[[str], None]) -> dict[Path, str]:
    """Return the runs of a sweep that have films, with their labels: at most MOST_RUNS, in the sweep's order.

    Args:
        sweep: the sweep's folder.
        by: a key, to show the best run of each of its values. None: all runs; if there are too many, the best
            run of each of the best settings.
        note: called with a line if runs are left out.

    Raises:
        ConfigError: no run has a film, or no run has the key.
        DataError: no run has a score to choose by.
    """
    results = results_below([sweep], note)
    filmed = [run for run in results if RunFolder(run.path).film.exists()]
    if not filmed:
        raise ConfigError(no_film(sweep))
    keys = all_keys(filmed)
    key = None if by is None else find_key(by, keys)
    shown = filmed
    if key is not None or len(filmed) > MOST_RUNS:
        shown = _best_runs(filmed, key)[:MOST_RUNS]
        of = "value" if key else "setting"
        note(f"{len(shown)} of {len(filmed)} runs are shown: the best of each {of} (at most {MOST_RUNS})")
        shown = [run for run in filmed if run in shown]
    varying = distinguishing_keys([values_of(run, keys) for run in shown], keys)
    if key is not None:  # sort by its values, and begin each label with it
        shown = sorted(shown, key=lambda run: _order(run.settings.get(key)))
        varying = (key, *(other for other in varying if other != key))
    return {run.path: _label(run, varying) for run in shown}


def no_film(path: Path) -> str:
    """Return the error for a run or a sweep without a film."""
    return (
        f"{path}: has no film; train with run.film=50, which records the weights every 50 epochs "
        "(mlpkit resume cannot record past epochs)"
    )


def _best_runs(runs: Sequence[RunResult], key: str | None) -> list[RunResult]:
    """Return the best run of each setting, or of each value of a key, the best first."""
    found = compare(runs, [key] if key else [])
    sign = -1 if found.metric.higher_is_better else 1
    settings = [setting for setting in found.settings if setting.runs]
    by_score = [
        sorted(zip(setting.scores, setting.runs.values(), strict=True), key=lambda pair: sign * pair[0])
        for setting in settings
    ]
    if len(settings) == 1 and key is None:  # seeds of one setting
        return [run for _, run in by_score[0]]
    return [of_setting[0][1] for of_setting in by_score]


def _order(value: Any) -> tuple[int, Any]:
    """Return a sort key: numbers, then lists of numbers, then the rest as text."""
    if isinstance(value, int | float):
        return 0, value
    if isinstance(value, list) and all(isinstance(item, int | float) for item in value):
        return 1, value
    return 2, show(value)


def _label(run: RunResult, keys: Sequence[str]) -> str:
    """Return the run's values of the keys, as typed on the command line."""
    found = [(key, run.settings[key]) for key in keys if key in run.settings]
    return ", ".join(f"{shorten(key, keys)}={show(value)}" for key, value in found)
