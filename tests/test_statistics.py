"""Student's t, intervals, paired and unpaired tests against scipy and closed forms."""

import math
import random

import pytest
from scipy import stats

from mlpkit.analysis.statistics import (
    half_width,
    mean,
    mean_of,
    paired_difference,
    t_quantile,
    two_sided,
    unpaired_difference,
)

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
def test_differences_equal_scipys(count: int, shift: float) -> None:
    draw = random.Random(count)
    first = [draw.gauss(0.9, 0.05) for _ in range(count)]
    second = [value - shift + draw.gauss(0, 0.05) for value in first]
    expected = stats.ttest_rel(first, second)
    found = paired_difference(first, second)
    assert found is not None and found.p_value() == pytest.approx(expected.pvalue, rel=1e-10)
    assert found.interval(0.9) == pytest.approx(tuple(expected.confidence_interval(0.9)), rel=1e-10)
    third = [draw.gauss(0.9 - shift, 0.01) for _ in range(count + 3)]  # with another spread
    expected = stats.ttest_ind(first, third, equal_var=False)
    found = unpaired_difference(first, third)
    assert found is not None and found.p_value() == pytest.approx(expected.pvalue, rel=1e-10)
    assert found.degrees == pytest.approx(expected.df, rel=1e-10)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval()), rel=1e-10)


def test_differences_without_spread() -> None:
    assert paired_difference([0.9], [0.8]) is None
    assert paired_difference([], []) is None
    for equal in ([0.9, 0.8], [0.0, 0.0]):
        found = paired_difference(equal, equal)
        assert found is not None and (found.p_value(), found.interval()) == (1.0, (0.0, 0.0))
    # 0.9 - 0.8 and 0.8 - 0.7 differ in the last bit, and mean the same.
    assert paired_difference([0.9, 0.8], [0.8, 0.7]) is None
    assert paired_difference([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [0.8, 0.7, 0.6, 0.5, 0.4, 0.3]) is None
    assert unpaired_difference([0.9], [0.8, 0.7]) is None
    assert unpaired_difference([0.9, 0.9], [0.8, 0.8]) is None
    found = unpaired_difference([0.9, 0.9], [0.9, 0.9, 0.9])
    assert found is not None and found.p_value() == 1.0
    assert mean_of([0.7]) is None
