"""Confidence intervals of scores, by drawing the rows of a split again and again: Efron's bootstrap (1979).

A share of rows, as the accuracy is, has Wilson's interval instead. The intervals cover which rows are in the
split. They do not cover that another seed would give another model.
"""

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from mlpkit.config.metric import MetricConfig
from mlpkit.tasks import Task

RESAMPLES = 1000
FEWEST = 200  # for large splits, and for metrics that are computed anew from all rows
DRAWN_AT_ONCE = 1_000_000  # row numbers
MOST_DRAWN = 20_000_000  # row numbers; fewer resamples of larger splits

Interval = tuple[float, float]
Draws = Mapping[str, "np.ndarray[tuple[int], np.dtype[np.float64]]"]  # the values of scores, by name


def bootstrap(
    task: Task,
    statistics: Sequence[Tensor],
    outputs: Tensor,
    truth: Tensor,
    metrics: Sequence[MetricConfig] = (),
    weights: Sequence[Tensor] = (),
    level: float = 0.95,
) -> dict[str, Interval]:
    """Return the interval of each score; the arguments are those of `resample`."""
    return intervals_of(resample(task, statistics, outputs, truth, metrics, weights), statistics, level)


def resample(
    task: Task,
    statistics: Sequence[Tensor],
    outputs: Tensor,
    truth: Tensor,
    metrics: Sequence[MetricConfig] = (),
    weights: Sequence[Tensor] = (),
) -> Draws:
    """Return the values of each score for rows that are drawn again and again.

    Equally many rows are drawn in the same way, so that the scores of two models can be subtracted.

    Args:
        task: the task.
        statistics: the loss (rows,) of each row, and the values (rows,) that the task's scores are sums of.
        outputs: (rows, width), in the targets' units.
        truth: the rows' truth; see `Task.truth`.
        metrics: metrics besides the task's scores.
        weights: the weights (rows,) that each of the statistics was multiplied by; () if there are none.
    """
    rows = len(outputs)
    columns = torch.stack([each.double().reshape(rows) for each in statistics]).cpu().numpy()
    divisors = torch.stack(list(weights)).numpy() if weights else np.empty(0)
    draws = np.random.default_rng(0)
    count = max(FEWEST, min(RESAMPLES, MOST_DRAWN // rows))
    sums = np.empty((len(columns), count))
    values: list[list[float]] = []
    size = max(1, DRAWN_AT_ONCE // rows)
    for start in range(0, count, size):
        drawn = draws.integers(0, rows, (min(size, count - start), rows))
        places = drawn + rows * np.arange(len(drawn))[:, None]
        counts = np.bincount(places.ravel(), minlength=drawn.size).reshape(drawn.shape).T.astype(np.float64)
        part = columns @ counts
        if weights:  # the rows that are drawn have another mean weight than all rows
            with np.errstate(divide="ignore", invalid="ignore"):
                part = part * (rows / (divisors @ counts))
        sums[:, start : start + len(drawn)] = part
        enough = RESAMPLES if rows <= RESAMPLES else FEWEST
        for chosen in torch.from_numpy(drawn[: max(0, enough - start)] if metrics else drawn[:0]):
            values.append(task.compute(metrics, outputs[chosen], truth[chosen], may_be_nan=True))
    scores = task.scores(list(sums), rows)
    return scores | {metric.name: np.array(values)[:, place] for place, metric in enumerate(metrics)}


def intervals_of(draws: Draws, statistics: Sequence[Tensor], level: float = 0.95) -> dict[str, Interval]:
    """Return the interval of each score: Wilson's of a share of rows, else percentiles.

    Args:
        draws: of `resample`.
        statistics: those that it was given; shares are counted in booleans. The scores are in their order.
        level: probability.
    """
    ends = 50 * (1 - level), 50 * (1 + level)
    shares = {
        name: wilson(int(of.sum()), len(of), level)
        for name, of in zip(draws, statistics, strict=False)
        if of.dtype == torch.bool
    }
    return {name: _interval(of, ends) for name, of in draws.items()} | shares


def difference(first: Draws, second: Draws, score: str, level: float = 0.95) -> Interval:
    """Return the interval of the first model's score minus the second's, on the same rows."""
    ends = 50 * (1 - level), 50 * (1 + level)
    one, other = first[score], second[score]
    count = min(len(one), len(other))
    return _interval(one[:count] - other[:count], ends)


def wilson(right: int, rows: int, level: float = 0.95) -> Interval:
    """Return Wilson's interval (1927) of the share right / rows, which is not empty for 0 and 1."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, more = right / rows, z * z / rows
    middle, half = share + more / 2, z * sqrt(share * (1 - share) / rows + more / rows / 4)
    return max(0.0, (middle - half) / (1 + more)), min(1.0, (middle + half) / (1 + more))


def _interval(scores: "np.ndarray[tuple[int], np.dtype[np.float64]]", ends: Interval) -> Interval:
    """Return two percentiles, without draws for which a score is not defined."""
    defined = scores[~np.isnan(scores)]
    low, high = np.percentile(defined, ends) if len(defined) else (np.nan, np.nan)
    return float(low), float(high)
