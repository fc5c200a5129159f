"""What a launcher is given to do."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mlpkit.config.config import Config
from mlpkit.errors import MlpkitError
from mlpkit.files.paths import expand
from mlpkit.runs.sweep_folder import SweepFolder
from mlpkit.sweep.allowed import Allowed, refuse_large
from mlpkit.sweep.datasets import Datasets
from mlpkit.sweep.display import SweepDisplay
from mlpkit.sweep.ledger import Entry
from mlpkit.sweep.pruning import Judge
from mlpkit.training.stop import StopRequest


@dataclass
class Work:
    """What a launcher is given.

    Attributes:
        folder: of the sweep.
        entries: the jobs that are to be trained, by their numbers.
        command: the command line, for the records.
        wish: to stop.
        display: shows how far it is.
        ended: called with the number of each job that has ended, and why, where it has failed.
        datasets: where data comes from.
        judge: of a search's trials, whose test scores are left to the winner; None where runs stand for
            themselves.
        allowed: what the jobs may do.
    """

    folder: SweepFolder
    entries: dict[int, Entry]
    command: str
    wish: StopRequest
    display: SweepDisplay
    ended: Callable[[int, BaseException | None], None]
    datasets: Datasets = field(default_factory=Datasets)
    judge: Judge | None = None
    allowed: Allowed = field(default_factory=Allowed)
    _warned: set[str] = field(default_factory=set)

    def warn(self, line: str) -> None:
        """Tell what the user should know and that stops nothing; once, however many runs say it."""
        if line not in self._warned:
            self._warned.add(line)
            self.display.note(line)

    def config(self, number: int) -> Config:
        """Return a job's config, with the folder that it goes to."""
        entry = self.entries[number]
        place = {"root": self._root(entry), "dir": str(self.folder.run(entry.folder)), "resume": "never"}
        return entry.config.model_copy(update={"run": entry.config.run.model_copy(update=place)})

    def _root(self, entry: Entry) -> str:
        """Return the folder of all runs: as it was given, or the sweep's where that has been moved."""
        root = entry.config.run.root
        inside = self.folder.path.resolve().is_relative_to(expand(root).resolve())
        return root if inside else str(self.folder.path)


Launcher = Callable[[Work], None]


def without_large(work: Work) -> Work:
    """Return the work without the jobs that are larger than is allowed; those have failed."""
    if work.allowed.large:
        return work
    kept: dict[int, Entry] = {}
    for number, entry in work.entries.items():
        work.wish.check()
        try:
            refuse_large(entry.config, work.datasets, work.folder.ledger)
        except MlpkitError as error:
            work.ended(number, error)
        else:
            kept[number] = entry
    return replace(work, entries=kept)
