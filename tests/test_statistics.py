"""Student's t, intervals, paired tests and Holm's correction against scipy, closed forms and by hand."""

import math
import random

import pytest
from scipy import stats

from mlpkit.analysis.statistics import half_width, holm, mean, paired_p_value, t_quantile, two_sided

DEGREES = [*range(1, 31), 63, 100, 999, 10_000]


@pytest.mark.parametrize("degrees", DEGREES)
def test_tails_equal_scipys(degrees: int) -> None:
    for t in (0.0, 1e-3, 0.1, 0.5, 1.0, 1.7, 2.0, 3.3, 5.0, 12.0, 100.0, 1e6, 1e150):
        expected = 2 * stats.t.sf(t, degrees)
        assert two_sided(t, degrees) == pytest.approx(expected, rel=1e-10, abs=1e-300)
        assert two_sided(-t, degrees) == two_sided(t, degrees)


@pytest.mark.parametrize("degrees", DEGREES)
@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99, 0.999])
def test_quantiles_equal_scipys(degrees: int, level: float) -> None:
    assert t_quantile(degrees, level) == pytest.approx(stats.t.ppf((1 + level) / 2, degrees), rel=1e-10)


def test_closed_forms() -> None:
    for t in (1e-8, 0.2, 1.0, 4.0, 50.0):
        assert two_sided(t, 1) == pytest.approx(1 - 2 / math.pi * math.atan(t), rel=1e-12)  # Cauchy's
        assert two_sided(t, 2) == pytest.approx(1 - t / math.sqrt(2 + t * t), rel=1e-10)
    assert t_quantile(1, 0.5) == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize("count", [2, 3, 5, 16, 200])
@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
def test_intervals_equal_scipys(count: int, size: float) -> None:
    draw = random.Random(count)
    values = [size * (1 + draw.gauss(0, 0.1)) for _ in range(count)]
    low, high = stats.t.interval(0.95, count - 1, loc=mean(values), scale=stats.sem(values))
    assert half_width(values) == pytest.approx((high - low) / 2, rel=1e-10)
    assert mean(values) == pytest.approx((high + low) / 2, rel=1e-12)


def test_a_single_value_has_no_interval_and_equal_ones_a_narrow_one() -> None:
    assert half_width([0.7]) is None
    assert half_width([0.5] * 5) == 0.0
    assert half_width([0.1] * 3) == pytest.approx(0, abs=1e-15)
    assert mean([1e20, 1.0, -1e20]) == 1 / 3


@pytest.mark.parametrize("count", [2, 3, 8, 64])
@pytest.mark.parametrize("shift", [0.0, 0.01, 0.3])
def test_paired_tests_equal_scipys(count: int, shift: float) -> None:
    draw = random.Random(count)
    first = [draw.gauss(0.9, 0.05) for _ in range(count)]
    second = [value - shift + draw.gauss(0, 0.05) for value in first]
    expected = stats.ttest_rel(first, second).pvalue
    assert paired_p_value(first, second) == pytest.approx(expected, rel=1e-10)
    assert paired_p_value(second, first) == pytest.approx(expected, rel=1e-10)


def test_pairs_without_spread() -> None:
    assert paired_p_value([0.9], [0.8]) is None
    assert paired_p_value([], []) is None
    assert paired_p_value([0.9, 0.8], [0.9, 0.8]) == 1.0
    assert paired_p_value([0.0, 0.0], [0.0, 0.0]) == 1.0
    # 0.9 - 0.8 and 0.8 - 0.7 differ in the last bit, and mean the same.
    assert paired_p_value([0.9, 0.8], [0.8, 0.7]) is None
    assert paired_p_value([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [0.8, 0.7, 0.6, 0.5, 0.4, 0.3]) is None


def test_holm_by_hand() -> None:
    # Sorted: 0.005, 0.01, 0.03, 0.04; times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04, of which the last is raised.
    corrected = holm([0.01, 0.04, 0.03, 0.005])
    assert corrected == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([None, 0.04, None]) == [None, 0.04, None]
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("seed", range(5))
def test_holm_rejects_what_the_procedure_of_the_paper_rejects(seed: int) -> None:
    """Step down from the smallest; stop at the first that is above alpha / (m - k)."""
    draw = random.Random(seed)
    p_values = [draw.random() ** 4 for _ in range(20)]
    rejected = set()
    for k, p in enumerate(sorted(p_values)):
        if p > 0.05 / (len(p_values) - k):
            break
        rejected.add(p)
    corrected = holm(p_values)
    assert {p for p, q in zip(p_values, corrected, strict=True) if q is not None and q <= 0.05} == rejected
