"""Permutation importance: how much a score drops when one column is shuffled (Breiman 2001)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlpkit.analysis.predict import Predictor
from mlpkit.analysis.statistics import mean, mean_of, t_quantile
from mlpkit.config.metric import higher_is_better, with_metric
from mlpkit.config.problems import did_you_mean, spell
from mlpkit.config.registry import choices
from mlpkit.data.dataset import Split
from mlpkit.data.input_schema import InputSchema
from mlpkit.errors import ConfigError
from mlpkit.metrics import add_up
from mlpkit.tasks import Task

DRAWS, FEWEST_DRAWS = 100, 20  # of all rows with replacement, for the intervals; fewer of larger splits
DRAWN_ROWS = 1_000_000  # of which all draws together have about so many


@dataclass(frozen=True)
class Importance:
    """The importance of a column.

    Attributes:
        column: its name in the raw table.
        drop: by how much the score is worse when the column is shuffled; the mean over the shuffles.
        low: the lower end of the 95 % interval.
        high: the upper end.
    """

    column: str
    drop: float
    low: float
    high: float


def features_of_columns(schema: InputSchema) -> Mapping[str, slice]:
    """Return the features of each raw column, which lie side by side: a category has one for each level."""
    if schema.encoder is None:
        return {name: slice(place, place + 1) for place, name in enumerate(schema.features)}
    found, start = {}, 0
    for column in schema.encoder.columns:
        found[column.column] = slice(start, start := start + len(column.features()))
    return found


def permutation_importance(predictor: Predictor, rows: Split, score: str = "", repeats: int = 10) -> "Found":
    """Return the name of the score, its value, and the importance of each raw column, the largest first.

    A column is shuffled within the rows. Since each column is encoded on its own, its features are moved
    together. The interval covers the choice of the rows and the shuffles: the mean over the shuffles is also
    computed on rows drawn with replacement, again and again, and the interval is t · standard deviation of
    these means to each side (the bootstrap of Efron 1979).

    Args:
        predictor: the model.
        rows: the rows to score.
        score: a score or a metric of the task; "" for accuracy or r2, as in scikit-learn.
        repeats: number of shuffles of each column, at least 2.

    Raises:
        ConfigError: the task has no such score, or it is not defined for the rows.
    """
    task, schema, inputs = predictor.task, predictor.input_schema, rows.inputs
    score = score or ("r2" if task.probabilities is None else "accuracy")
    _check_score(task, score)
    before = predictor.outputs(inputs)
    truth = task.truth(task.encode(rows.targets, before.dtype))
    sign = 1 if higher_is_better(score) else -1
    whole = _score(task, score, before, truth)
    if not math.isfinite(whole):
        raise ConfigError(
            f"--score={score}: is {whole} for these rows, as where they lack a class; choose another, or "
            "other rows with --split"
        )
    random = np.random.default_rng(0)
    count = max(FEWEST_DRAWS, min(DRAWS, DRAWN_ROWS // len(rows)))
    drawn = [torch.from_numpy(random.integers(0, len(rows), len(rows))) for _ in range(count)]
    of_drawn = np.array([_score(task, score, before[again], truth[again]) for again in drawn])
    found = []
    for column, features in features_of_columns(schema).items():
        drops, resampled = [], np.zeros(count)
        for _ in range(repeats):
            shuffled = inputs.clone()
            shuffled[:, features] = inputs[torch.from_numpy(random.permutation(len(rows))), features]
            outputs = predictor.outputs(shuffled)
            drops.append(sign * (whole - _score(task, score, outputs, truth)))
            worse = [_score(task, score, outputs[again], truth[again]) for again in drawn]
            resampled += sign * (of_drawn - worse) / repeats
        known = resampled[np.isfinite(resampled)]  # some draws of few rows may lack a class
        drop, half = float(np.mean(drops)), math.nan
        if len(known) > 1:
            variance = np.var(known, ddof=1) + np.var(drops, ddof=1) / repeats
            half = t_quantile(len(known) - 1) * math.sqrt(variance)
        found.append(Importance(column, drop, drop - half, drop + half))
    return score, whole, sorted(found, key=lambda each: -each.drop)


Found = tuple[str, float, list[Importance]]


def mean_importance(groups: Sequence[Sequence[Found]], overlap: float = 0.0) -> Found:
    """Return the mean of what `permutation_importance` found of several runs, with intervals over the groups.

    The interval is that of the mean over newly trained runs; for a single run that of its rows and shuffles.

    Args:
        groups: of each fold what was found of its runs, or of each run; the columns are the same.
        overlap: of the groups' training rows, as in `mlpkit.analysis.statistics.mean_of`.
    """
    if sum(map(len, groups)) == 1:
        return groups[0][0]
    drops = [[{of.column: of.drop for of in columns} for *_, columns in group] for group in groups]
    found = []
    for column in drops[0][0]:
        each = [mean([run[column] for run in group]) for group in drops]
        estimate = mean_of(each, overlap)
        ends = (math.nan, math.nan) if estimate is None else estimate.interval()
        found.append(Importance(column, mean(each), *ends))
    value = mean([mean([value for _, value, _ in group]) for group in groups])
    return groups[0][0][0], value, sorted(found, key=lambda each: -each.drop)


def _check_score(task: Task, score: str) -> None:
    metrics = [name for name, own in choices("metric").items() if task.name in getattr(own, "tasks", ())]
    known = [*(name for name in task.names if name != "loss"), *metrics]
    if score not in known:
        raise ConfigError(
            f"--score={spell(score)}: must be a score of {task.name}: {', '.join(known)}"
            f"{did_you_mean(score, known)}"
        )


def _score(task: Task, score: str, outputs: Tensor, truth: Tensor) -> float:
    """Return a score of outputs (rows, width)."""
    if score not in task.names:
        return task.compute(with_metric((), score), outputs, truth, may_be_nan=True)[0]
    sums = add_up(torch.zeros(1), task.statistics(outputs, truth))
    return float(task.scores(sums, len(outputs))[score])
