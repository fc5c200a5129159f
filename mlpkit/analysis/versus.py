"""Compares two settings with more and more seeds until one is shown to be better.

Tests that are repeated while seeds are added find a false difference more often than a single test does. So
each look takes its share of the error (Bonferroni): with a probability of 95 % the intervals of all looks
hold the true difference. The shares do not depend on the number of looks, so that a comparison may go on with
more seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mlpkit.analysis.compare import ERROR, LEAST
from mlpkit.analysis.statistics import paired_difference

FIRST = 8  # seeds of the first look
EQUAL = 4  # looks with equal shares of the error, up to 64 seeds; each later one has half of the one before


@dataclass(frozen=True)
class Verdict:
    """What the seeds of one look show.

    Attributes:
        kind: first or second (the better one), alike (the difference is below the margin), or open.
        seeds: number of seeds that both settings have.
        difference: mean of second - first.
        low: lower end of its interval.
        high: upper end.
    """

    kind: Literal["first", "second", "alike", "open"]
    seeds: int
    difference: float
    low: float
    high: float


def looks(most: int) -> list[int]:
    """Return the numbers of seeds at which to look: 8, 16, 32, … up to the most."""
    seeds = [FIRST]
    while 2 * seeds[-1] <= most:
        seeds.append(2 * seeds[-1])
    return seeds


def share(look: int) -> float:
    """Return the share of the error of a look, counted from 0: 0.01 four times, then 0.005, 0.0025, …"""
    return ERROR / (EQUAL + 1) * 0.5 ** max(0, look - EQUAL + 1)


def judge(
    first: Sequence[float], second: Sequence[float], higher_is_better: bool, margin: float | None, look: int
) -> Verdict:
    """Return what the scores of common seeds show.

    Args:
        first: the first setting's score of each seed.
        second: the second setting's, in the same order.
        higher_is_better: whether higher scores are better.
        margin: smaller differences do not matter; None: all matter.
        look: its number, counted from 0.
    """
    estimate = paired_difference(second, first)
    if estimate is None or estimate.error == 0:  # without a spread of the differences there is no interval
        value = second[0] - first[0] if first else 0.0
        return Verdict("open", len(first), value, value, value)
    low, high = estimate.interval(1 - share(look))
    if len(first) < LEAST:
        return Verdict("open", len(first), estimate.value, low, high)
    kind: Literal["first", "second", "alike", "open"] = "open"
    if low > 0 or high < 0:
        kind = "second" if (low > 0) == higher_is_better else "first"
    if margin is not None and -margin < low and high < margin:
        kind = "alike"
    return Verdict(kind, len(first), estimate.value, low, high)
