"""The first line of a sweep says how its runs are grouped."""

import pytest

from mlpkit.sweeps.display import opening_line
from mlpkit.sweeps.groups import Group


@pytest.mark.parametrize(
    ("sizes", "line"),
    [
        ([1], "sweep of 1 run"),
        ([3], "sweep of 3 runs: 3 trained together"),
        ([2, 1], "sweep of 3 runs: 2 trained together, 1 alone"),
        ([1, 1, 1], "sweep of 3 runs: 3 one after another"),
    ],
)
def test_the_first_line(sizes: list[int], line: str) -> None:
    groups = [Group(tuple(range(size))) for size in sizes]
    assert opening_line(sum(sizes), 0, groups) == line
