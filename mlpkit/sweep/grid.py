"""The grid of a sweep: its axes, their combinations in a stable order, and how many there may be."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mlpkit.config.config import Config
from mlpkit.errors import ConfigError

MOST = 10_000  # jobs of a sweep, where --max-jobs says nothing else
MOST_TRIALS = 10_000  # of a search

Value = TypeVar("Value")


@dataclass(frozen=True)
class Values:
    """The values of a swept key. None is made before all axes are known to be short: a range may be huge."""

    length: int
    texts: Callable[[], Iterator[str]]  # each as one would type it after the `=`


@dataclass(frozen=True)
class Interval:
    """What a search may draw a key's value from: numbers from low to below high, or integers, high included.

    It is of integers where both ends are, and evenly spread over the logarithms where `log` is set.
    """

    low: float
    high: float
    log: bool = False

    @property
    def integer(self) -> bool:
        """Whether integers are drawn."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value that can be drawn."""
        return self.low, self.high if self.integer else math.nextafter(self.high, self.low)


@dataclass(frozen=True)
class Job:
    """One run of a sweep: the swept overrides alone, as one would type them, and the whole config."""

    overrides: tuple[str, ...]
    config: Config


@dataclass(frozen=True)
class Plan:
    """The jobs of a sweep, each config once, and how many were left out for repeating an earlier one."""

    jobs: tuple[Job, ...]
    dropped: int


def product(axes: Mapping[str, Sequence[Value]]) -> Iterator[tuple[Value, ...]]:
    """Yield every combination of one value from each axis, the last axis fastest, as Hydra does."""
    return itertools.product(*axes.values())


def zipped(axes: Mapping[str, Sequence[Value]]) -> Iterator[tuple[Value, ...]]:
    """Yield the first values of all axes, the second values, and so on; an axis of one value repeats it.

    The lengths must have passed `check_size`.
    """
    most = max((len(values) for values in axes.values()), default=1)
    return zip(*(_stretched(values, most) for values in axes.values()), strict=True) if axes else iter([()])


def check_size(lengths: Mapping[str, int], paired: bool, most: int | None) -> None:
    """Refuse a sweep that is too large, or whose lists cannot be paired.

    Args:
        lengths: the number of values of each axis, none of them 0.
        paired: whether the lists are paired (`zipped`); else all combinations are taken (`product`).
        most: jobs that there may be; None takes `MOST`.

    Raises:
        ConfigError: too many jobs, or lists of different lengths.
    """
    several = {key: length for key, length in lengths.items() if length > 1}
    if paired and len(set(several.values())) > 1:
        counts = ", ".join(f"{key} has {_count(length)}" for key, length in several.items())
        raise ConfigError(
            f"--zip: the lists differ in length: {counts}; give lists of one length, or single values"
        )
    jobs = max(several.values(), default=1) if paired else math.prod(several.values())
    if jobs <= (MOST if most is None else most):
        return
    sizes = " × ".join(f"{key} {_count(length)}" for key, length in several.items())
    option = f"--max-jobs={MOST} (the default)" if most is None else f"--max-jobs={most}"
    raise ConfigError(
        f"{option}: the sweep has {_count(jobs)} jobs ({sizes}); sweep fewer values or raise --max-jobs"
    )


def _stretched(values: Sequence[Value], length: int) -> Sequence[Value]:
    return list(values) * length if len(values) == 1 else values


def _count(number: int) -> str:
    return f"{number:,}" if number < 10**12 else "over 10^12"
