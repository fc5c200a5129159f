"""The score that runs are compared by."""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from mlpkit.analysis.keys import hashable
from mlpkit.config.metric import higher_is_better
from mlpkit.config.problems import did_you_mean, plural, show
from mlpkit.config.registry import choices
from mlpkit.errors import ConfigError
from mlpkit.folders.results import RunResult
from mlpkit.losses.auto import LOSS_OF_TASK, Auto

_OWN_RANGE = {"r2": (-math.inf, 1.0)}  # others: 0 to 1 if higher is better, else from 0


@dataclass(frozen=True)
class Metric:
    """The compared score: a score of a split, at each run's best epoch.

    Attributes:
        split: train, val or test.
        score: name of the score.
        higher_is_better: whether higher values are better.
        monitored: whether training chose the best epoch by this score.
        reason: why it is not the monitored score, unless the user chose it; else empty.
    """

    split: str
    score: str
    higher_is_better: bool
    monitored: bool
    reason: str = ""

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the smallest and the largest value that the score can have."""
        if self.score in _OWN_RANGE:
            return _OWN_RANGE[self.score]
        own = choices("metric").get(self.score)
        if own is not None and not own.__module__.startswith("mlpkit."):
            return -math.inf, math.inf  # a plug-in's score may have any value
        return (0.0, 1.0) if self.higher_is_better else (0.0, math.inf)

    def value(self, run: RunResult) -> float | None:
        """Return a run's score; None if it has none."""
        if run.best is None:
            return None
        return run.best.value if self.monitored else run.best.scores(self.split).get(self.score)

    def loss(self, run: RunResult) -> float:
        """Return the run's loss on the split, which ranks equal scores; infinity if it is unknown."""
        loss = run.best.scores(self.split).get("loss") if run.best is not None else None
        return math.inf if loss is None else loss


def choose_metric(runs: Sequence[RunResult], wanted: str | None) -> Metric:
    """Return the score by which runs of one task are ranked.

    Args:
        runs: at least one has a score.
        wanted: name of a score, or split.name; None is the score that the runs monitored.

    Raises:
        ConfigError: there is no such score, or the runs cannot be compared.
    """
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
    if task != "regression":
        return None
    if not settings.get("dataset.standardize") and settings.get("dataset.target_transform", "none") == "none":
        return None
    data = {key: value for key, value in settings.items() if key.startswith("dataset.")}
    return tuple((key, hashable(data[key])) for key in sorted(data))


def scaled_by(settings: Sequence[Mapping[str, Any]]) -> str:
    """Return the key because of which the losses of some runs have different units; see `loss_unit`."""
    transforms = {each.get("dataset.target_transform", "none") for each in settings}
    return "dataset.standardize" if transforms == {"none"} else "dataset.target_transform"


def loss_kind(task: str, settings: Mapping[str, Any]) -> Hashable:
    """Return which loss a run was trained with, and its options; runs of other losses have other units.

    Args:
        task: of the run.
        settings: by dotted key.
    """
    if settings.get("loss.name", "auto") == "auto" and task in LOSS_OF_TASK:
        return _kind_of_auto(task)
    kind = {key: value for key, value in settings.items() if key.startswith("loss.")}
    return tuple((key, hashable(kind[key])) for key in sorted(kind))


@cache
def _kind_of_auto(task: str) -> Hashable:
    kind = {f"loss.{key}": value for key, value in Auto(name="auto").for_task(task)}
    return tuple((key, hashable(kind[key])) for key in sorted(kind))


def _scores(bests: Sequence[Any], split: str) -> list[str]:
    return list(dict.fromkeys(name for best in bests for name in best.scores(split)))


def _count(found: Counter[str]) -> str:
    return ", ".join(f"{name or 'unknown'}: {plural(count, 'run')}" for name, count in found.items())
