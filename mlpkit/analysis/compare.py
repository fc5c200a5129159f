"""Comparison of runs: groups runs with equal settings, ranks the settings and compares each with the best.

The keys of a setting are those being compared, by default all but `seed` and `dataset.fold`. Runs of two
settings whose other keys are equal, such as the seed, form the pairs of a paired t-test.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlpkit.analysis.keys import (
    ABSENT,
    Values,
    all_keys,
    distinguishing_keys,
    find_key,
    pairing_keys,
    reader,
    varying,
    with_lists,
)
from mlpkit.analysis.metric import Metric, choose_metric
from mlpkit.analysis.repeats import REPEATS, fold_means, folds_of, overlap_of
from mlpkit.analysis.statistics import Estimate, mean, mean_interval, paired_difference, unpaired_difference
from mlpkit.config.problems import plural
from mlpkit.errors import DataError
from mlpkit.folders.results import RunResult, age
from mlpkit.system.garbage import collection_paused

ERROR = 0.05  # the probability that any setting is called different from the best that is not
LEAST = 5  # seeds or folds that two settings must have in common to be compared


@dataclass(frozen=True)
class Setting:
    """One setting of the compared keys, and its runs.

    Attributes:
        options: values of the comparison's columns by dotted key, without keys that the setting lacks.
        runs: the runs that have a score, by their values of the pairing keys.
        scores: the scores of `runs`.
        missing: number of further runs, without a score.
        folds: of the cross-validation whose folds the runs are; 0 if they are not.
        rank: 1 for the best; None if no run has a score.
        interval: 95 % confidence interval of the mean score, within the score's range; None for a single run,
            and for equal scores.
        worse_by: 95 % confidence interval of the difference to the best, positive if it is worse, for all
            pairs of settings at once; None without enough runs in common, and if they have equal scores.
        p_value: of the difference, times the number of pairs (Bonferroni).
    """

    options: Mapping[str, Any]
    runs: Mapping[Values, RunResult]
    scores: tuple[float, ...]
    missing: int
    folds: int = 0
    rank: int | None = None
    interval: tuple[float, float] | None = None
    worse_by: tuple[float, float] | None = None
    p_value: float | None = None

    @property
    def mean(self) -> float | None:
        """Mean score."""
        return mean(self.scores) if self.scores else None

    @property
    def seconds(self) -> float | None:
        """Mean training time."""
        known = [run.seconds for run in self.runs.values() if run.seconds is not None]
        return mean(known) if known else None

    @property
    def differs(self) -> bool | None:
        """Whether it is shown to differ from the best; None if that was not tested."""
        return None if self.p_value is None else self.p_value <= ERROR


@dataclass(frozen=True)
class Comparison:
    """The settings, best first.

    Attributes:
        metric: the score that ranks them.
        columns: dotted keys that distinguish the settings, or that were asked for.
        settings: ranked; those without any score come last.
        unscored: runs without a score.
        repeats: number of runs left out because a newer run has the same config.
        title: what its runs have in common, where there are several comparisons; else empty.
    """

    metric: Metric
    columns: tuple[str, ...]
    settings: tuple[Setting, ...]
    unscored: tuple[RunResult, ...]
    repeats: int
    title: str = ""

    @property
    def unit(self) -> str:
        """What the runs of a setting are, unless other keys are averaged: seeds, folds or, if both, runs."""
        runs = [run for setting in self.settings for run in setting.runs.values()]
        seeds, folds = (len({run.settings.get(key) for run in runs}) for key in REPEATS)
        if folds < 2:
            return "seeds"
        return "folds" if seeds < 2 else "runs"

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
    chosen = choose_metric(runs, metric)
    every_key = all_keys(runs)
    keys = varying(runs, every_key)  # others tell no two runs apart
    setting_keys = tuple(find_key(key, every_key) for key in by) or tuple(
        key for key in keys if key not in REPEATS
    )
    unscored = tuple(run for run in runs if chosen.value(run) is None)
    scored, repeats = _newest_of_each([run for run in runs if chosen.value(run) is not None], keys)
    setting_of, all_of = reader(setting_keys), reader(keys)
    settings_of_runs = list(map(setting_of, scored))
    pair_keys = pairing_keys(scored, settings_of_runs, [key for key in keys if key not in setting_keys])

    members: dict[Values, dict[Values, RunResult]] = {}
    for setting, pair, run in zip(settings_of_runs, map(reader(pair_keys), scored), scored, strict=True):
        members.setdefault(setting, {})[pair] = run
    for run in unscored:
        members.setdefault(setting_of(run), {})
    done = {all_of(run) for run in scored} if unscored else set()
    unscored_of = {all_of(run): run for run in unscored}
    failed = Counter(setting_of(run) for values, run in unscored_of.items() if values not in done)
    columns = tuple(dict.fromkeys(setting_keys)) if by else distinguishing_keys(list(members), setting_keys)
    settings = []
    for setting, mine in members.items():
        options = dict(zip(setting_keys, setting, strict=True))
        shown = {key: with_lists(options[key]) for key in columns if options[key] is not ABSENT}
        scores = tuple(score for run in mine.values() if (score := chosen.value(run)) is not None)
        settings.append(Setting(shown, mine, scores, failed[setting], folds_of(mine.values())))
    return Comparison(chosen, columns, _rank(settings, chosen, pair_keys), unscored, repeats)


LIKE = ("dataset.name", "dataset.path", "dataset.target", "dataset.task")  # equal for runs of one table


@collection_paused()
def compare_alike(
    runs: Sequence[RunResult], by: Sequence[str] = (), metric: str | None = None
) -> list[Comparison]:
    """Compare runs of the same data, task and monitored score: a comparison for each.

    Args:
        runs: any runs.
        by: as for `compare`; a key of the data, as `dataset.name`, puts runs of different data side by side.
        metric: as for `compare`; then runs that monitored different scores are compared as well.

    Raises:
        ConfigError: there is no such key or score, or the runs cannot be compared.
        DataError: no run has a score.
    """
    keys = all_keys(runs)
    named = [find_key(key, keys) for key in by]
    like = tuple(key for key in LIKE if not any(name.startswith("dataset.") for name in named))
    groups: dict[tuple[Any, ...], list[RunResult]] = {}
    data_of = reader(like)
    for run in runs:
        best = run.best
        score = "" if best is None or metric is not None else f"{best.split}.{best.score}"
        groups.setdefault((*data_of(run), run.task if best else "", score), []).append(run)
    scored = {key: group for key, group in groups.items() if key[-2]}
    if not scored:
        return [compare(runs, by, metric)]  # which says why
    for key, group in groups.items():  # runs without a score go where the other runs of their data are
        if not key[-2]:
            same = next((other for other in scored if other[: len(like)] == key[: len(like)]), None)
            scored[same or next(iter(scored))].extend(group)
    found = [compare(group, by, metric) for group in scored.values()]
    if len(found) == 1:
        return found
    places: list[int] = []  # of the key, as few as tell the groups apart
    for place in range(len(like) + 2):
        if len({tuple(key[n] for n in (*places, place)) for key in scored}) > len(
            {tuple(key[n] for n in places) for key in scored}
        ):
            places.append(place)
    titles = [[str(key[n]) for n in places if key[n] not in ("", None, ABSENT)] for key in scored]
    return [replace(of, title=" ".join(title)) for of, title in zip(found, titles, strict=True)]


def _newest_of_each(runs: Sequence[RunResult], keys: Sequence[str]) -> tuple[list[RunResult], int]:
    """Return the runs without those that a newer run repeats, and the number of these.

    A repeated run has the same score: counting it would narrow the interval without adding information.
    """
    newest: dict[Values, RunResult] = {}
    all_of = reader(keys)
    for run in runs:
        key = all_of(run)
        if key not in newest or age(run) >= age(newest[key]):
            newest[key] = run
    return list(newest.values()), len(runs) - len(newest)


def _rank(settings: Sequence[Setting], metric: Metric, keys: Sequence[str]) -> tuple[Setting, ...]:
    """Return the settings best first, each compared with the best.

    Of equal means, the setting with more runs comes first, then that with the lower mean loss.
    """
    sign = -1 if metric.higher_is_better else 1
    scored = [setting for setting in settings if setting.scores]
    order = [(sign * mean(setting.scores), -len(setting.scores)) for setting in scored]
    equal = {key for key, count in Counter(order).items() if count > 1}
    losses = [
        mean([metric.loss(run) for run in setting.runs.values()]) if key in equal else 0.0
        for key, setting in zip(order, scored, strict=True)
    ]
    in_order = sorted(zip(order, losses, scored, strict=True), key=lambda each: each[:2])
    ranked = [setting for _, _, setting in in_order]
    # The best was chosen by its score: any two of the settings might have been compared.
    pairs = max(1, len(ranked) * (len(ranked) - 1) // 2)
    compared = []
    for rank, setting in enumerate(ranked, 1):
        found = None if rank == 1 else _difference(ranked[0], setting, keys, sign)
        low, high = metric.bounds
        compared.append(
            replace(
                setting,
                rank=rank,
                interval=mean_interval(
                    list(_repeats(setting, keys).values()), low, high, overlap_of(setting.folds)
                ),
                worse_by=None if found is None or not found.error else found.interval(1 - ERROR / pairs),
                p_value=None if found is None else min(1.0, pairs * found.p_value()),
            )
        )
    return (*compared, *(setting for setting in settings if setting.mean is None))


def _difference(best: Setting, other: Setting, keys: Sequence[str], sign: int) -> Estimate | None:
    """Return by how much a setting is worse than the best.

    With at least LEAST seeds or folds in common, their differences are taken; without any in common, those of
    the means. None if there are fewer.
    """
    common = best.runs.keys() & other.runs.keys()
    worse, better = (_repeats(of, keys, common) for of in (other, best))
    overlap = max(overlap_of(best.folds), overlap_of(other.folds))
    if min(len(worse), len(better)) < LEAST:
        return None
    if not common:
        found = unpaired_difference(list(worse.values()), list(better.values()), overlap)
    elif worse.keys() == better.keys():
        found = paired_difference(list(worse.values()), [better[values] for values in worse], overlap)
    else:  # one setting's runs are folds, the other's are not
        return None
    return None if found is None else replace(found, value=sign * found.value + 0.0)  # no -0.0


def _repeats(setting: Setting, keys: Sequence[str], common: Collection[Values] = ()) -> dict[Values, float]:
    """Return the scores whose spread tells how sure a setting's mean is; of all runs, or of common ones."""
    counted = dict(zip(setting.runs, setting.scores, strict=True))
    if common and len(common) < len(counted):
        counted = {values: score for values, score in counted.items() if values in common}
    return fold_means(counted, keys) if setting.folds else counted
