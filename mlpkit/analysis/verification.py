"""The results of `mlpkit verify`, in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlpkit.config.problems import plural, show
from mlpkit.folders.looks import Look
from mlpkit.folders.same_bits import LogDifference, TensorDifference

# Runs that are trained together add up products in another order than alone. This changes the last digits,
# and later steps enlarge the change.
TOLERANCE = 1e-3  # of the largest number in a tensor


@dataclass
class Verification:
    """The results of all checks.

    Attributes:
        lines: the name of each check, and its result.
        failed: the names of the checks that failed.
    """

    lines: list[tuple[str, str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def add(self, name: str, result: str, passed: bool = True) -> None:
        """Add the result of a check."""
        self.lines.append((name, result))
        if not passed:
            self.failed.append(name)


def describe_environment(pairs: Mapping[str, tuple[Any, Any]]) -> str:
    """Return what differs between the run's environment and the current one."""
    parts = [f"{name} {_value(now)} (was {_value(before)})" for name, (before, now) in pairs.items()]
    return f"differs: {', '.join(parts)}" if parts else "same"


def describe_logs(difference: LogDifference, epochs: int) -> str:
    """Return the first difference of the logged scores."""
    if difference.epoch is None:
        return f"same in {plural(epochs, 'logged epoch')}" if epochs else "no epoch to compare"
    values = f"{_value(difference.before)} before, {_value(difference.now)} now"
    return f"differ from epoch {difference.epoch} on: {difference.name} {values}"


def describe_tensors(difference: TensorDifference) -> str:
    """Return which tensors differ, and by how much."""
    if not difference.names:
        return f"same bits in {plural(difference.count, 'tensor')}"
    return (
        f"{len(difference.names)} of {plural(difference.count, 'tensor')} differ, "
        f"first {difference.names[0]}; "
        f"at most by {difference.largest:.1e} of the largest number ({difference.largest_in})"
    )


def describe_looks(looks: Sequence[Look]) -> str:
    """Return how often the test split was looked at, and for how many runs and sweeps."""
    if not looks:
        return "no look at this data's test split is recorded here"
    paths = len({look.path for look in looks})
    since = min(look.time for look in looks)[:10]
    runs = "one run or sweep" if paths == 1 else f"{paths:,} runs or sweeps"
    return f"looked at {plural(len(looks), 'time')}, of {runs}, since {since}"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else show(value)
