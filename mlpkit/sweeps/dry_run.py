"""The --dry-run of a sweep: lists the runs and how they would be grouped."""

from collections.abc import Sequence

from rich.console import Console

from mlpkit.errors import ConfigError
from mlpkit.sweeps.datasets import Datasets
from mlpkit.sweeps.display import opening_line
from mlpkit.sweeps.grid import Job
from mlpkit.sweeps.groups import group
from mlpkit.system.console import say


def print_dry_run(jobs: Sequence[Job], console: Console, most: int | None = None) -> None:
    """Print the jobs group by group.

    Args:
        jobs: of the sweep.
        console: where they are printed.
        most: the largest number of runs of a group; None leaves it to the grouping.

    Raises:
        ConfigError: some jobs cannot be trained; one line per job.
    """
    groups, errors = group({number: job.config for number, job in enumerate(jobs)}, Datasets(), most=most)
    if errors:
        raise ConfigError(
            *(f"{' '.join(jobs[number].overrides)}: {error}" for number, error in errors.items())
        )
    say(console, opening_line(len(jobs), 0, groups))
    for index, members in enumerate(groups, 1):
        say(console, f"group {index}:" if members.together else "alone:")
        for number in members.numbers:
            say(console, f"  {number:>4}  {' '.join(jobs[number].overrides)}")
