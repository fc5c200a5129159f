"""Many cases of one test: the first of each kind run in `make test`, their combinations in `make faults`."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def rest_long(cases: Iterable[Any], quick: Callable[[Any], bool]) -> list[Any]:
    """Return the cases as parameters; those that are not `quick` are marked as long."""
    return [case if quick(case) else _long(case) for case in cases]


def _long(case: Any) -> Any:
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.long)
