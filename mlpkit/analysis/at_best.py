"""Compares settings, each with its best values of other keys: chosen on validation, scored on test rows."""

from collections.abc import Sequence

from mlpkit.analysis.compare import Comparison, compare
from mlpkit.analysis.keys import Values, all_keys, find_key, reader
from mlpkit.errors import ConfigError
from mlpkit.folders.results import RunResult
from mlpkit.folders.shared_settings import SharedSettings


def compare_at_best(
    runs: Sequence[RunResult], by: Sequence[str], at_best: Sequence[str], metric: str | None = None
) -> tuple[Comparison, dict[str, int]]:
    """Compare the values of some keys, each with the best values of other keys.

    Args:
        runs: runs of one task.
        by: the keys to compare.
        at_best: the other keys, whose values are chosen by the mean monitored score.
        metric: the score to compare by; None: the monitored score on the test split.

    Returns:
        The comparison of the chosen runs; and for each value of `by`, in words, the number of values tried.

    Raises:
        ConfigError: there is no such key, or there are no test scores.
        DataError: no run has a score.
    """
    keys = all_keys(runs)
    by_keys = [find_key(key, keys) for key in by]
    tuned = [find_key(key, keys, "--at-best") for key in at_best]
    groups: dict[Values, list[RunResult]] = {}
    value_of = reader(by_keys)
    for run in runs:
        groups.setdefault(value_of(run), []).append(run)
    kept: list[RunResult] = []
    tried: dict[str, int] = {}
    for values, group in groups.items():
        if not any(run.best for run in group):
            continue
        tuning = compare(group, tuned)
        for run in tuning.settings[0].runs.values():  # paired without the keys that were chosen
            settings = {key: value for key, value in run.settings.items() if key not in tuned}
            kept.append(run._replace(settings=SharedSettings(settings, {})))
        tried[" ".join(map(str, values))] = sum(setting.mean is not None for setting in tuning.settings)
    first = next(run.best for run in runs if run.best is not None)
    if metric is None and not any(run.best and run.best.scores("test") for run in kept):
        raise ConfigError(
            "--at-best: the runs have no test scores, and validation scores have chosen; train with test rows"
        )
    return compare(kept, by, metric or f"test.{first.score}"), tried
