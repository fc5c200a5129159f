"""The grid of a sweep: its axes, their combinations in a stable order, and the limit on their number."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mlpkit.config.config import Config
from mlpkit.errors import ConfigError

MAX_JOBS = 10_000  # of a sweep; the default of --max-jobs
MAX_TRIALS = 10_000  # of a search
MAX_SEEDS = 1_000  # of each trial of a search

Value = TypeVar("Value")


@dataclass(frozen=True)
class Values:
    """The values of a swept key.

    They are generated only after the number of jobs was checked: a range may be huge.

    Attributes:
        length: number of values.
        texts: yields each value as it would be typed after the `=`.
    """

    length: int
    texts: Callable[[], Iterator[str]]


@dataclass(frozen=True)
class Interval:
    """The search interval of a key: floats in [low, high), or integers in [low, high] if both ends are.

    With `log`, values are sampled uniformly on a log scale.
    """

    low: float
    high: float
    log: bool = False

    @property
    def integer(self) -> bool:
        """Whether integers are sampled."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value that can be sampled."""
        return self.low, self.high if self.integer else math.nextafter(self.high, self.low)


@dataclass(frozen=True)
class Job:
    """One run of a sweep: its swept overrides, as they would be typed, and its whole config."""

    overrides: tuple[str, ...]
    config: Config


@dataclass(frozen=True)
class SweepPlan:
    """The jobs of a sweep, each config once, and how many duplicates were dropped."""

    jobs: tuple[Job, ...]
    dropped: int


def product(axes: Mapping[str, Sequence[Value]]) -> Iterator[tuple[Value, ...]]:
    """Yield every combination of one value from each axis, the last axis fastest, as Hydra does."""
    return itertools.product(*axes.values())


def zipped(axes: Mapping[str, Sequence[Value]]) -> Iterator[tuple[Value, ...]]:
    """Yield the first values of all axes, the second values, and so on; an axis of one value is repeated.

    The lengths must have passed `check_size`.
    """
    length = max((len(values) for values in axes.values()), default=1)
    return zip(*(_repeated(values, length) for values in axes.values()), strict=True) if axes else iter([()])


def check_size(lengths: Mapping[str, int], paired: bool, most: int | None) -> None:
    """Refuse a sweep with too many jobs, or with lists that cannot be paired.

    Args:
        lengths: number of values of each axis, at least 1.
        paired: pair the lists (`zipped`) instead of taking all combinations (`product`).
        most: the largest number of jobs; None means `MAX_JOBS`.

    Raises:
        ConfigError: there are too many jobs, or paired lists have different lengths.
    """
    several = {key: length for key, length in lengths.items() if length > 1}
    if paired and len(set(several.values())) > 1:
        counts = ", ".join(f"{key} has {_count(length)}" for key, length in several.items())
        raise ConfigError(
            f"--zip: the lists differ in length: {counts}; give lists of one length, or single values"
        )
    jobs = max(several.values(), default=1) if paired else math.prod(several.values())
    if jobs <= (MAX_JOBS if most is None else most):
        return
    sizes = " × ".join(f"{key} {_count(length)}" for key, length in several.items())
    option = f"--max-jobs={MAX_JOBS} (the default)" if most is None else f"--max-jobs={most}"
    raise ConfigError(
        f"{option}: the sweep has {_count(jobs)} jobs ({sizes}); sweep fewer values or raise --max-jobs"
    )


def _repeated(values: Sequence[Value], length: int) -> Sequence[Value]:
    return list(values) * length if len(values) == 1 else values


def _count(number: int) -> str:
    return f"{number:,}" if number < 10**12 else "over 10^12"
