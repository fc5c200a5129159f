"""Runs side by side: those with equal settings form a line, and the lines are ranked by a score.

A line has its values of the keys that are compared, by default all but `seed` and `dataset.fold`. What is
left decides which runs of two lines belong together: those whose other settings are equal form a pair.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlpkit.analysis.statistics import half_width, holm, mean, paired_p_value
from mlpkit.config.problems import did_you_mean, show
from mlpkit.errors import ConfigError, DataError
from mlpkit.runs.results import RunResult, age

TIED_ABOVE = 0.05  # corrected p-values from which a line counts as tied with the best

REPEATS = ("seed", "dataset.fold")  # keys whose values repeat a setting: they tell nothing of it

_LOWER_IS_BETTER = ("loss", "mae", "rmse")
_ABSENT = object()  # value of a key that the chosen model, optimizer or dataset does not have

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Metric:
    """What is compared: a score on a split, at each run's best epoch.

    Attributes:
        split: train, val or test.
        score: its name.
        higher_is_better: its direction.
        monitored: whether it decided which epoch is best.
        reason: why it is not the one that did, where nobody has asked for another.
    """

    split: str
    score: str
    higher_is_better: bool
    monitored: bool
    reason: str = ""

    def value(self, run: RunResult) -> float | None:
        """Return a run's value, None where it has none."""
        if run.best is None:
            return None
        return run.best.value if self.monitored else run.best.scores(self.split).get(self.score)


@dataclass(frozen=True)
class Line:
    """Runs with equal settings.

    Attributes:
        settings: by dotted key, of the comparison's columns; a key that does not apply is left out.
        runs: those with a score, by what tells them apart within the line.
        values: their scores.
        missing: how many more there are without a score.
        rank: from 1; None where no run has a score.
        p_value: of a paired test against the best line, corrected for the number of lines; None where
            there was no test.
    """

    settings: Mapping[str, Any]
    runs: Mapping[Key, RunResult]
    values: tuple[float, ...]
    missing: int
    rank: int | None = None
    p_value: float | None = None

    @property
    def mean(self) -> float | None:
        """Mean score."""
        return mean(self.values) if self.values else None

    @property
    def half_width(self) -> float | None:
        """Half the width of its 95 % interval."""
        return half_width(self.values)

    @property
    def seconds(self) -> float | None:
        """Mean training time."""
        known = [run.seconds for run in self.runs.values() if run.seconds is not None]
        return mean(known) if known else None

    @property
    def tied(self) -> bool | None:
        """Whether it is as good as the best line as far as can be told; None where that was not tested."""
        return None if self.p_value is None else self.p_value > TIED_ABOVE


@dataclass(frozen=True)
class Comparison:
    """Lines, best first.

    Attributes:
        metric: by which they are ranked.
        columns: dotted keys that differ between the lines, or that were asked for.
        lines: those without any score come last.
        unscored: runs without a score.
        repeats: how many runs were left out because a newer one has all the same settings.
    """

    metric: Metric
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    unscored: tuple[RunResult, ...]
    repeats: int

    @property
    def best_run(self) -> RunResult:
        """Return the run with the best score of the best line; of equals, the first."""
        line, sign = self.lines[0], -1 if self.metric.higher_is_better else 1
        _, place = min((sign * value, place) for place, value in enumerate(line.values))
        return list(line.runs.values())[place]


def compare(runs: Sequence[RunResult], by: Sequence[str] = (), metric: str | None = None) -> Comparison:
    """Return the runs as ranked lines.

    Args:
        runs: of one task.
        by: keys that make a line, which averages over all others; none means all but REPEATS.
        metric: a score's name, or split.name; None is the score that the runs monitored.

    Raises:
        ConfigError: there is no such key or score, or the runs cannot be compared.
        DataError: no run has a score.
    """
    if not any(run.best for run in runs):
        reasons = Counter(run.status for run in runs)
        said = ", ".join(f"{count} {status}" for status, count in reasons.items())
        raise DataError(f"compare: none of {len(runs)} runs has a score ({said}); see their train.log")
    chosen = _choose_metric(runs, metric)
    keys = list(dict.fromkeys(key for run in runs for key in run.settings))
    lines_by = tuple(_find_key(key, keys) for key in by) or tuple(key for key in keys if key not in REPEATS)
    unscored = tuple(run for run in runs if chosen.value(run) is None)
    scored, repeats = _newest_of_each([run for run in runs if chosen.value(run) is not None], keys)
    pairs_by = _pair_keys(scored, lines_by, [key for key in keys if key not in lines_by])

    members: dict[Key, dict[Key, RunResult]] = {_key(run, lines_by): {} for run in (*scored, *unscored)}
    for run in scored:
        members[_key(run, lines_by)][_key(run, pairs_by)] = run
    done = {_key(run, keys) for run in scored}
    failed = Counter(_key(run, lines_by) for run in _distinct(unscored, keys) if _key(run, keys) not in done)
    columns = tuple(dict.fromkeys(lines_by)) if by else _telling_columns(list(members), lines_by)
    lines = []
    for key, mine in members.items():
        of_all = dict(zip(lines_by, key, strict=True))
        settings = {name: _plain(of_all[name]) for name in columns if of_all[name] is not _ABSENT}
        values = tuple(value for run in mine.values() if (value := chosen.value(run)) is not None)
        lines.append(Line(settings, mine, values, failed[key]))
    return Comparison(chosen, columns, _rank(lines, chosen), unscored, repeats)


def _choose_metric(runs: Sequence[RunResult], wanted: str | None) -> Metric:
    bests = [run.best for run in runs if run.best is not None]
    tasks = Counter(run.task for run in runs if run.best is not None)
    if len(tasks) > 1:
        raise ConfigError(f"compare: runs of different tasks ({_count(tasks)}); name runs of one task")
    monitored = Counter(f"{best.split}.{best.score}" for best in bests)
    first = bests[0]
    units = {loss_unit(run.task, run.settings) for run in runs if run.best is not None}
    if wanted is None:
        if len(monitored) > 1:
            raise ConfigError(
                f"compare: the runs monitored different scores ({_count(monitored)}); "
                f"choose one that all have, such as --metric train.{first.score}"
            )
        if first.score == "loss" and len(units) > 1:
            reason = "losses are in different units: dataset.standardize"
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
    if score == "loss" and len(units) > 1:
        raise ConfigError(
            f"--metric={show(wanted)[1:-1]}: with dataset.standardize each run's losses are in a unit of "
            "its own; choose rmse, mae or r2"
        )
    higher = score not in _LOWER_IS_BETTER
    return Metric(split, score, first.higher_is_better if score == first.score else higher, monitored=False)


def loss_unit(task: str, settings: Mapping[str, Any]) -> Hashable:
    """Return what tells the unit of a run's losses from that of others.

    A regression with dataset.standardize has its losses in the unit of its own targets, standardised; without
    it, and in classification, all runs have one unit.

    Args:
        task: of the run.
        settings: by dotted key.
    """
    if task != "regression" or not settings.get("dataset.standardize"):
        return None
    data = {key: value for key, value in settings.items() if key.startswith("dataset.")}
    return tuple((key, _hashable(data[key])) for key in sorted(data))


def _scores(bests: Sequence[Any], split: str) -> list[str]:
    return list(dict.fromkeys(name for best in bests for name in best.scores(split)))


def _count(found: Counter[str]) -> str:
    return ", ".join(f"{name or 'unknown'}: {count} {_runs(count)}" for name, count in found.items())


def _runs(count: int) -> str:
    return "run" if count == 1 else "runs"


def _find_key(wanted: str, keys: Sequence[str]) -> str:
    """Return the dotted key that a user means: whole, or as a table shortens it."""
    if wanted in keys:
        return wanted
    found = [key for key in keys if key.endswith(f".{wanted}") or key == f"{wanted}.name"]
    if len(found) == 1:
        return found[0]
    spelled = show(wanted)[1:-1]
    if found:
        raise ConfigError(f"--by={spelled}: may be any of {', '.join(found)}; name one of them")
    near = did_you_mean(wanted, [*keys, *(shorten(key, keys) for key in keys)])
    raise ConfigError(f"--by={spelled}: no run has this key{near or '; see `mlpkit config` for the keys'}")


def shorten(key: str, keys: Sequence[str]) -> str:
    """Return the last part of a key where no other one of the keys ends so; `optimizer` for its name."""
    short = key.removesuffix(".name").rpartition(".")[2]
    same = [other for other in keys if other.removesuffix(".name").rpartition(".")[2] == short]
    return key if len(same) > 1 or (short == "seed" and key != "seed") else short


def _newest_of_each(runs: Sequence[RunResult], keys: Sequence[str]) -> tuple[list[RunResult], int]:
    """Return the runs without those that a newer one repeats, and the number of these.

    A repeated run has the same score: it would make an interval narrower, and nothing truer.
    """
    newest: dict[Key, RunResult] = {}
    for run in runs:
        key = _key(run, keys)
        if key not in newest or age(run) >= age(newest[key]):
            newest[key] = run
    return list(newest.values()), len(runs) - len(newest)


def _distinct(runs: Sequence[RunResult], keys: Sequence[str]) -> list[RunResult]:
    return list({_key(run, keys): run for run in runs}.values())


def _pair_keys(runs: Sequence[RunResult], lines_by: Key, others: Sequence[str]) -> tuple[str, ...]:
    """Return the keys that tell the runs of a line apart, and pair them with those of another line.

    What only some choices have, such as an optimizer's momentum, tells nothing apart within a line where
    it has one value; lines of other choices have no such key, and are paired without it.
    """
    values: dict[tuple[Key, str], set[Any]] = {}
    absent = set()
    for run in runs:
        line = _key(run, lines_by)
        for key, value in zip(others, _key(run, others), strict=True):
            values.setdefault((line, key), set()).add(value)
            if value is _ABSENT:
                absent.add(key)
    varying = {key for (_, key), found in values.items() if len(found) > 1}
    return tuple(key for key in others if key in varying or key not in absent)


def _telling_columns(lines: Sequence[Key], keys: Sequence[str]) -> tuple[str, ...]:
    """Return the keys that tell the lines apart.

    A key that only some choices have, and with one value, says no more than the choice: it is a column
    only where nothing else tells two lines apart.
    """
    found = [{line[index] for line in lines} for index in range(len(keys))]
    telling = [index for index, values in enumerate(found) if len(values - {_ABSENT}) > 1]
    for index, values in enumerate(found):
        if len(values) > 1 and index not in telling:
            apart = len({tuple(line[place] for place in telling) for line in lines})
            if len({tuple(line[place] for place in (*telling, index)) for line in lines}) > apart:
                telling.append(index)
    return tuple(keys[index] for index in sorted(telling))


def _rank(lines: Sequence[Line], metric: Metric) -> tuple[Line, ...]:
    """Return the lines best first, each tested against the best; among equals, more runs come first."""
    sign = -1 if metric.higher_is_better else 1
    scored = [(mean, line) for line in lines if (mean := line.mean) is not None]
    ranked = [line for _, line in sorted(scored, key=lambda pair: (sign * pair[0], -len(pair[1].values)))]
    p_values = holm([_p_value(ranked[0], line, metric.value) for line in ranked[1:]])
    tested = [
        replace(line, rank=rank, p_value=p)
        for rank, (line, p) in enumerate(zip(ranked, [None, *p_values], strict=True), 1)
    ]
    return (*tested, *(line for line in lines if line.mean is None))


def _p_value(best: Line, line: Line, value: Callable[[RunResult], float | None]) -> float | None:
    pairs = [(value(best.runs[key]), value(line.runs[key])) for key in best.runs.keys() & line.runs.keys()]
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    return paired_p_value([a for a, _ in both], [b for _, b in both])


def _key(run: RunResult, keys: Sequence[str]) -> Key:
    return tuple(_hashable(run.settings.get(key, _ABSENT)) for key in keys)


def _hashable(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    return tuple(value.items()) if isinstance(value, dict) else value


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
