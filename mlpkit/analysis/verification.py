"""What `mlpkit verify` finds out about a run, in lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlpkit.config.problems import plural, show
from mlpkit.runs.same_bits import Parting, TensorParting
from mlpkit.runs.test_looks import Look

# Runs that are trained together add up products in another order than alone, and later steps enlarge what
# that changes in the last digits.
TOLERANCE = 1e-3  # of the largest number in a tensor


@dataclass
class Verification:
    """Lines for the user, and the points that do not hold."""

    lines: list[tuple[str, str]] = field(default_factory=list)  # what was checked, and what was found
    broken: list[str] = field(default_factory=list)

    def add(self, name: str, found: str, holds: bool = True) -> None:
        """Add what was found on one point."""
        self.lines.append((name, found))
        if not holds:
            self.broken.append(name)


def describe_environment(pairs: Mapping[str, tuple[Any, Any]]) -> str:
    """Return what differs between the run's environment and that of now."""
    parts = [f"{name} {_value(now)} (was {_value(before)})" for name, (before, now) in pairs.items()]
    return f"differs: {', '.join(parts)}" if parts else "same"


def describe_logs(parting: Parting, epochs: int) -> str:
    """Return where the logged scores part."""
    if parting.epoch is None:
        return f"same in {plural(epochs, 'logged epoch')}" if epochs else "no epoch to compare"
    values = f"{_value(parting.before)} before, {_value(parting.now)} now"
    return f"part in epoch {parting.epoch}: {parting.value} {values}"


def describe_tensors(parting: TensorParting) -> str:
    """Return which tensors differ, and by how much."""
    if not parting.names:
        return f"same bits in {plural(parting.count, 'tensor')}"
    first, more = parting.names[0], len(parting.names)
    return (
        f"{more} of {plural(parting.count, 'tensor')} differ, first {first}; "
        f"at most by {parting.largest:.1e} of the largest number ({parting.where})"
    )


def describe_looks(looks: Sequence[Look]) -> str:
    """Return how often the test split was looked at, and by how many runs and sweeps."""
    if not looks:
        return "no look at this data's test split is recorded here"
    paths = len({look.path for look in looks})
    since = min(look.time for look in looks)[:10]
    runs = "one run or sweep" if paths == 1 else f"{paths:,} runs or sweeps"
    return f"looked at {plural(len(looks), 'time')}, of {runs}, since {since}"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else show(value)
