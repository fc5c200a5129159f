"""Student's t in a page, since importing scipy takes longer than comparing a thousand runs.

The distribution comes from the regularised incomplete beta function, by its continued fraction
(Numerical Recipes, 3rd edition, §6.4); a test holds it to scipy's within 1e-10. Holm's
correction is a few lines; statsmodels, which has it, loads scipy and pandas.
"""

import math
from collections.abc import Sequence
from functools import cache

_TINY = 1e-300  # in place of a zero that would be divided by
_LEAST_SPREAD = 1e-12  # of the scores' size: what is smaller is rounding


def mean(values: Sequence[float]) -> float:
    """Return the mean of one value or more, whatever their order."""
    return math.fsum(values) / len(values)


def half_width(values: Sequence[float], level: float = 0.95) -> float | None:
    """Return half the width of the t interval of the mean: t · s / √n; None for a single value."""
    if len(values) < 2:
        return None
    return t_quantile(len(values) - 1, level) * _standard_error(values)


def paired_p_value(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return the two-sided p-value of equal means, of values that belong together in pairs.

    Differences without spread allow no t-test: it would be sure of two seeds with accuracies of
    0.98 and 0.97 each.

    Args:
        first: values, at least one.
        second: their partners.

    Returns:
        1 where all pairs are equal; None for fewer than two pairs, and where all differ by the same.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    count = len(differences)
    if count < 2:
        return None
    least = _LEAST_SPREAD * max(map(abs, (*first, *second)))
    error, difference = _standard_error(differences), mean(differences)
    if error > least:
        return two_sided(difference / error, count - 1)
    return None if abs(difference) > least else 1.0


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the p-values corrected for their number (Holm 1979): the k-th smallest of m times m - k + 1.

    A corrected value is never below that of a smaller one, nor above 1; None was no test and stays.
    """
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for place, (p, index) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - place)))
        corrected[index] = largest
    return corrected


def two_sided(t: float, degrees: int) -> float:
    """Return P(|T| ≥ |t|) for Student's T with so many degrees of freedom: I_x(ν/2, 1/2), x = ν/(ν + t²)."""
    total = degrees + t * t
    return _regularized_beta(degrees / 2, 0.5, degrees / total, t * t / total)


@cache
def t_quantile(degrees: int, level: float = 0.95) -> float:
    """Return the t with P(|T| < t) = level, found by halving."""
    low, high = 0.0, 1.0
    while two_sided(high, degrees) > 1 - level:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if two_sided(middle, degrees) > 1 - level else (low, middle)
    return high


def _standard_error(values: Sequence[float]) -> float:
    """Return s / √n, where s² divides by n - 1."""
    centre, count = mean(values), len(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (count - 1) / count)


def _regularized_beta(a: float, b: float, x: float, rest: float) -> float:
    """Return I_x(a, b), given rest = 1 - x as well, which has more digits where x is close to 1."""
    if x <= 0 or rest <= 0:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # where the fraction would converge slowly
        return 1.0 - _regularized_beta(b, a, rest, x)
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest)
    return math.exp(scale) * _fraction(a, b, x) / a


def _fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of I_x(a, b), by Lentz's method."""
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 / _away_from_zero(1.0 + term * d)
            c = _away_from_zero(1.0 + term / c)
            value *= c * d
        if abs(c * d - 1.0) < 1e-16:
            break
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
