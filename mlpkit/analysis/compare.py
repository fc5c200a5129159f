"""Comparison of runs: groups runs with equal settings, ranks the settings by a score, and tests for ties.

The keys of a setting are those being compared, by default all but `seed` and `dataset.fold`. Runs of two
settings whose other keys are equal, such as the seed, form the pairs of a paired t-test.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlpkit.analysis.keys import (
    ABSENT,
    Values,
    distinguishing_keys,
    find_key,
    hashable,
    pairing_keys,
    values_of,
    with_lists,
)
from mlpkit.analysis.metric import Metric
from mlpkit.analysis.statistics import half_width, holm, mean, paired_p_value
from mlpkit.config.metric import higher_is_better
from mlpkit.config.problems import did_you_mean, plural, show
from mlpkit.errors import ConfigError, DataError
from mlpkit.losses.auto import LOSS_OF_TASK, Auto
from mlpkit.runs.results import RunResult, age

TIED_ABOVE = 0.05  # a setting is tied with the best if its corrected p-value is above this

REPEATS = ("seed", "dataset.fold")  # keys whose values repeat a setting: they tell nothing of it


@dataclass(frozen=True)
class Setting:
    """One setting of the compared keys, and its runs.

    Attributes:
        options: values of the comparison's columns by dotted key, without keys that the setting lacks.
        runs: the runs that have a score, by their values of the pairing keys.
        scores: the scores of `runs`.
        missing: number of further runs, without a score.
        rank: 1 for the best; None if no run has a score.
        p_value: of the paired test against the best setting, corrected for the number of tests; None if
            there was no test.
    """

    options: Mapping[str, Any]
    runs: Mapping[Values, RunResult]
    scores: tuple[float, ...]
    missing: int
    rank: int | None = None
    p_value: float | None = None

    @property
    def mean(self) -> float | None:
        """Mean score."""
        return mean(self.scores) if self.scores else None

    @property
    def half_width(self) -> float | None:
        """Half the width of the 95 % interval of the mean."""
        return half_width(self.scores)

    @property
    def seconds(self) -> float | None:
        """Mean training time."""
        known = [run.seconds for run in self.runs.values() if run.seconds is not None]
        return mean(known) if known else None

    @property
    def tied(self) -> bool | None:
        """Whether its difference from the best setting is not significant; None if there was no test."""
        return None if self.p_value is None else self.p_value > TIED_ABOVE


@dataclass(frozen=True)
class Comparison:
    """The settings, best first.

    Attributes:
        metric: the score that ranks them.
        columns: dotted keys that distinguish the settings, or that were asked for.
        settings: ranked; those without any score come last.
        unscored: runs without a score.
        repeats: number of runs left out because a newer run has the same config.
    """

    metric: Metric
    columns: tuple[str, ...]
    settings: tuple[Setting, ...]
    unscored: tuple[RunResult, ...]
    repeats: int

    @property
    def best_run(self) -> RunResult:
        """The run of the best setting with the best score; of equals, the one with the lowest loss."""
        best, sign = self.settings[0], -1 if self.metric.higher_is_better else 1
        runs = list(best.runs.values())
        losses = map(self.metric.loss, runs)
        *_, place = min(
            (sign * score, loss, i) for i, (score, loss) in enumerate(zip(best.scores, losses, strict=True))
        )
        return runs[place]


def compare(runs: Sequence[RunResult], by: Sequence[str] = (), metric: str | None = None) -> Comparison:
    """Group runs into settings and rank them.

    Args:
        runs: runs of one task.
        by: keys of a setting; runs that differ in other keys are averaged. Empty means all keys but REPEATS.
        metric: name of a score, or split.name; None is the score that the runs monitored.

    Raises:
        ConfigError: there is no such key or score, or the runs cannot be compared.
        DataError: no run has a score.
    """
    if not any(run.best for run in runs):
        reasons = Counter(run.status for run in runs)
        said = ", ".join(f"{count} {status}" for status, count in reasons.items())
        raise DataError(
            f"compare: none of {plural(len(runs), 'run')} has a score ({said}); see their train.log"
        )
    chosen = _choose_metric(runs, metric)
    keys = list(dict.fromkeys(key for run in runs for key in run.settings))
    setting_keys = tuple(find_key(key, keys) for key in by) or tuple(
        key for key in keys if key not in REPEATS
    )
    unscored = tuple(run for run in runs if chosen.value(run) is None)
    scored, repeats = _newest_of_each([run for run in runs if chosen.value(run) is not None], keys)
    pair_keys = pairing_keys(scored, setting_keys, [key for key in keys if key not in setting_keys])

    members: dict[Values, dict[Values, RunResult]] = {
        values_of(run, setting_keys): {} for run in (*scored, *unscored)
    }
    for run in scored:
        members[values_of(run, setting_keys)][values_of(run, pair_keys)] = run
    done = {values_of(run, keys) for run in scored}
    failed = Counter(
        values_of(run, setting_keys) for run in _distinct(unscored, keys) if values_of(run, keys) not in done
    )
    columns = tuple(dict.fromkeys(setting_keys)) if by else distinguishing_keys(list(members), setting_keys)
    settings = []
    for values, mine in members.items():
        options = dict(zip(setting_keys, values, strict=True))
        shown = {key: with_lists(options[key]) for key in columns if options[key] is not ABSENT}
        scores = tuple(score for run in mine.values() if (score := chosen.value(run)) is not None)
        settings.append(Setting(shown, mine, scores, failed[values]))
    return Comparison(chosen, columns, _rank(settings, chosen), unscored, repeats)


def _choose_metric(runs: Sequence[RunResult], wanted: str | None) -> Metric:
    bests = [run.best for run in runs if run.best is not None]
    tasks = Counter(run.task for run in runs if run.best is not None)
    if len(tasks) > 1:
        raise ConfigError(f"compare: runs of different tasks ({_count(tasks)}); name runs of one task")
    monitored = Counter(f"{best.split}.{best.score}" for best in bests)
    first = bests[0]
    units = {loss_unit(run.task, run.settings) for run in runs if run.best is not None}
    kinds = {loss_kind(run.task, run.settings) for run in runs if run.best is not None}
    if wanted is None:
        if len(monitored) > 1:
            raise ConfigError(
                f"compare: the runs monitored different scores ({_count(monitored)}); "
                f"choose one that all have, such as --metric train.{first.score}"
            )
        if first.score == "loss" and len(units) + len(kinds) > 2:
            why = scaled_by([run.settings for run in runs]) if len(kinds) == 1 else "loss"
            reason = f"losses are in different units: {why}"
            return Metric(first.split, "rmse", higher_is_better=False, monitored=False, reason=reason)
        return Metric(first.split, first.score, first.higher_is_better, monitored=True)
    split, dot, score = wanted.rpartition(".")
    if not dot and len({best.split for best in bests}) > 1:
        raise ConfigError(
            f"--metric={show(wanted)[1:-1]}: the runs monitored different splits ({_count(monitored)}); "
            f"name one, such as train.{show(wanted)[1:-1]}"
        )
    split = split or first.split
    known = [f"{part}.{name}" for part in ("train", "val", "test") for name in _scores(bests, part)]
    if f"{split}.{score}" not in known:
        near = did_you_mean(wanted, [*known, *_scores(bests, first.split)])
        raise ConfigError(f"--metric={show(wanted)[1:-1]}: no run has it; there is {', '.join(known)}{near}")
    if score == "loss" and len(kinds) > 1:
        others = " or ".join(name for name in _scores(bests, split) if name != "loss")
        raise ConfigError(
            f"--metric={show(wanted)[1:-1]}: the runs were trained with different losses; choose {others}"
        )
    if score == "loss" and len(units) > 1:
        raise ConfigError(
            f"--metric={show(wanted)[1:-1]}: with {scaled_by([run.settings for run in runs])} each run's "
            "losses are in a unit of its own; choose rmse, mae or r2"
        )
    higher = first.higher_is_better if score == first.score else higher_is_better(score)
    return Metric(split, score, higher, monitored=False)


def loss_unit(task: str, settings: Mapping[str, Any]) -> Hashable:
    """Return a value that is equal for runs whose losses have the same unit.

    In a regression with dataset.standardize or target_transform the loss is computed on targets scaled by the
    run's own training data, so the unit depends on the dataset. All other runs share one unit.

    Args:
        task: task of the run.
        settings: its config, by dotted key.
    """
    scales = settings.get("dataset.standardize") or settings.get("dataset.target_transform", "none") != "none"
    if task != "regression" or not scales:
        return None
    data = {key: value for key, value in settings.items() if key.startswith("dataset.")}
    return tuple((key, hashable(data[key])) for key in sorted(data))


def scaled_by(settings: Sequence[Mapping[str, Any]]) -> str:
    """Return the key that gives the losses of some runs units of their own; see `loss_unit`."""
    transforms = {of.get("dataset.target_transform", "none") for of in settings}
    return "dataset.standardize" if transforms == {"none"} else "dataset.target_transform"


def loss_kind(task: str, settings: Mapping[str, Any]) -> Hashable:
    """Return which loss a run was trained with, and its options; runs of other losses have other units.

    Args:
        task: of the run.
        settings: by dotted key.
    """
    kind = {key: value for key, value in settings.items() if key.startswith("loss.")}
    if kind.get("loss.name", "auto") == "auto" and task in LOSS_OF_TASK:
        kind = {f"loss.{key}": value for key, value in Auto(name="auto").for_task(task)}
    return tuple((key, hashable(kind[key])) for key in sorted(kind))


def _scores(bests: Sequence[Any], split: str) -> list[str]:
    return list(dict.fromkeys(name for best in bests for name in best.scores(split)))


def _count(found: Counter[str]) -> str:
    return ", ".join(f"{name or 'unknown'}: {count} {_runs(count)}" for name, count in found.items())


def _runs(count: int) -> str:
    return "run" if count == 1 else "runs"


def _newest_of_each(runs: Sequence[RunResult], keys: Sequence[str]) -> tuple[list[RunResult], int]:
    """Return the runs without those that a newer run repeats, and the number of these.

    A repeated run has the same score: counting it would narrow the interval without adding information.
    """
    newest: dict[Values, RunResult] = {}
    for run in runs:
        key = values_of(run, keys)
        if key not in newest or age(run) >= age(newest[key]):
            newest[key] = run
    return list(newest.values()), len(runs) - len(newest)


def _distinct(runs: Sequence[RunResult], keys: Sequence[str]) -> list[RunResult]:
    return list({values_of(run, keys): run for run in runs}.values())


def _rank(settings: Sequence[Setting], metric: Metric) -> tuple[Setting, ...]:
    """Return the settings best first, each tested against the best.

    Of equal means, the setting with more runs comes first, then that with the lower mean loss.
    """
    sign = -1 if metric.higher_is_better else 1

    def order(setting: Setting) -> tuple[float, int, float]:
        loss = mean([metric.loss(run) for run in setting.runs.values()])
        return sign * mean(setting.scores), -len(setting.scores), loss

    ranked = sorted((setting for setting in settings if setting.scores), key=order)
    p_values = holm([_p_value(ranked[0], setting, metric.value) for setting in ranked[1:]])
    tested = [
        replace(setting, rank=rank, p_value=p)
        for rank, (setting, p) in enumerate(zip(ranked, [None, *p_values], strict=True), 1)
    ]
    return (*tested, *(setting for setting in settings if setting.mean is None))


def _p_value(best: Setting, other: Setting, value: Callable[[RunResult], float | None]) -> float | None:
    pairs = [(value(best.runs[key]), value(other.runs[key])) for key in best.runs.keys() & other.runs.keys()]
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    return paired_p_value([a for a, _ in both], [b for _, b in both])
