"""Confidence intervals of scores by the bootstrap (Efron 1979), which resamples the rows of a split.

A share of rows, such as the accuracy, has Wilson's interval instead. The intervals say how much a score
depends on the rows that are in the split. They do not say how much another seed would change the model.
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
FEWEST = 200  # resamples, for large splits and for metrics, which read all rows of a resample
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

    The draws depend only on the number of rows, so that the scores of two models can be subtracted.

    Args:
        task: the task.
        statistics: the loss (rows,) of each row, and the values (rows,) that the task's scores are sums of.
        outputs: (rows, width), in the targets' units.
        truth: the rows' truth; see `Task.truth`.
        metrics: metrics besides the task's scores.
        weights: for each of the statistics, the weights (rows,) it was multiplied by; () if there are none.
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
        indices = drawn + rows * np.arange(len(drawn))[:, None]  # in a table of resamples × rows
        counts = np.bincount(indices.ravel(), minlength=drawn.size).reshape(drawn.shape).T.astype(np.float64)
        part = columns @ counts
        if weights:  # the mean weight of the drawn rows is not that of all rows
            with np.errstate(divide="ignore", invalid="ignore"):
                part = part * (rows / (divisors @ counts))
        sums[:, start : start + len(drawn)] = part
        enough = RESAMPLES if rows <= RESAMPLES else FEWEST
        for chosen in torch.from_numpy(drawn[: max(0, enough - start)] if metrics else drawn[:0]):
            values.append(task.compute(metrics, outputs[chosen], truth[chosen], may_be_nan=True))
    scores = task.scores(list(sums), rows)
    return scores | {metric.name: np.array(values)[:, index] for index, metric in enumerate(metrics)}


def intervals_of(draws: Draws, statistics: Sequence[Tensor], level: float = 0.95) -> dict[str, Interval]:
    """Return the interval of each score: Wilson's of a share of rows, else percentiles.

    Args:
        draws: of `resample`.
        statistics: those that it was given, in the order of the scores; shares of rows are booleans.
        level: the confidence level.
    """
    ends = 50 * (1 - level), 50 * (1 + level)
    shares = {
        name: wilson(int(each.sum()), len(each), level)
        for name, each in zip(draws, statistics, strict=False)
        if each.dtype == torch.bool
    }
    return {name: _interval(resampled, ends) for name, resampled in draws.items()} | shares


def difference(first: Draws, second: Draws, score: str, level: float = 0.95) -> Interval:
    """Return the interval of the first model's score minus the second's, on the same rows."""
    ends = 50 * (1 - level), 50 * (1 + level)
    one, other = first[score], second[score]
    count = min(len(one), len(other))
    return _interval(one[:count] - other[:count], ends)


def wilson(right: int, rows: int, level: float = 0.95) -> Interval:
    """Return the interval (Wilson 1927) of the share right / rows; at 0 and 1 it is not a point either."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, more = right / rows, z * z / rows
    middle, half = share + more / 2, z * sqrt(share * (1 - share) / rows + more / rows / 4)
    return max(0.0, (middle - half) / (1 + more)), min(1.0, (middle + half) / (1 + more))


def _interval(scores: "np.ndarray[tuple[int], np.dtype[np.float64]]", ends: Interval) -> Interval:
    """Return two percentiles of the resamples for which the score is defined."""
    defined = scores[~np.isnan(scores)]
    low, high = np.percentile(defined, ends) if len(defined) else (np.nan, np.nan)
    return float(low), float(high)
