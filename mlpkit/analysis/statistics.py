"""Student's t-test, confidence intervals and Holm's correction.

Not a library: importing scipy takes longer than comparing a thousand runs, and statsmodels, which has Holm's
correction, imports scipy and pandas. The t distribution is computed from the regularised incomplete beta
function by its continued fraction (Numerical Recipes, 3rd edition, §6.4). A test compares it with scipy's
within 1e-10.
"""

import math
from collections.abc import Sequence
from functools import cache

_TINY = 1e-300  # replaces 0 in a denominator
_LEAST_SPREAD = 1e-12  # relative to the scores; a smaller spread is rounding error


def mean(values: Sequence[float]) -> float:
    """Return the mean of one or more values; it does not depend on their order."""
    return math.fsum(values) / len(values)


def half_width(values: Sequence[float], level: float = 0.95) -> float | None:
    """Return half the width of the t confidence interval of the mean, t · s / √n; None for a single value."""
    if len(values) < 2:
        return None
    return t_quantile(len(values) - 1, level) * _standard_error(values)


def paired_p_value(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return the two-sided p-value of a paired t-test for equal means.

    If all differences are the same, a t-test is not valid: it would find a certain difference between two
    settings whose accuracies are 0.98 and 0.97 for each of two seeds.

    Args:
        first: the first value of each pair, at least one.
        second: the second value of each pair.

    Returns:
        The p-value. 1 if the values of each pair are equal. None for fewer than two pairs, and if all pairs
        have the same difference other than 0.
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
    """Return the p-values corrected for multiple tests (Holm 1979); None means no test, and stays None.

    The k-th smallest of m p-values is multiplied by m - k + 1, then raised to the corrected value before it
    if that is larger, and limited to 1.
    """
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for place, (p, index) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - place)))
        corrected[index] = largest
    return corrected


def two_sided(t: float, degrees: int) -> float:
    """Return P(|T| ≥ |t|) for Student's T with ν `degrees` of freedom: I_x(ν/2, 1/2), x = ν/(ν + t²)."""
    total = degrees + t * t
    return _regularized_beta(degrees / 2, 0.5, degrees / total, t * t / total)


@cache
def t_quantile(degrees: int, level: float = 0.95) -> float:
    """Return the t with P(|T| < t) = level, found by bisection."""
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
    """Return I_x(a, b). `rest` is 1 - x: computed from an x close to 1 it would lose digits."""
    if x <= 0 or rest <= 0:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # the fraction would converge slowly
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
