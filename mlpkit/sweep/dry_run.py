"""What a sweep would train, and what would go together."""

from collections.abc import Sequence

from rich.console import Console

from mlpkit.errors import ConfigError
from mlpkit.sweep.datasets import Datasets
from mlpkit.sweep.display import describe
from mlpkit.sweep.grid import Job
from mlpkit.sweep.groups import group
from mlpkit.system.console import say


def show(jobs: Sequence[Job], console: Console) -> None:
    """Print the jobs, those that go together under each other.

    Raises:
        ConfigError: some cannot be trained; a line each.
    """
    groups, wrong = group({number: job.config for number, job in enumerate(jobs)}, Datasets())
    if wrong:
        raise ConfigError(
            *(f"{' '.join(jobs[number].overrides)}: {error}" for number, error in wrong.items())
        )
    say(console, describe(len(jobs), 0, groups))
    for index, of in enumerate(groups, 1):
        say(console, f"group {index}:" if of.together else "alone:")
        for number in of.numbers:
            say(console, f"  {number:>4}  {' '.join(jobs[number].overrides)}")
