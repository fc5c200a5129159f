"""What a launcher is given to do."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mlpkit.config.config import Config
from mlpkit.errors import MlpkitError
from mlpkit.models.architecture import architecture, count
from mlpkit.runs.origin import Origin
from mlpkit.runs.sweep_folder import SweepFolder
from mlpkit.sweep.datasets import Datasets
from mlpkit.sweep.display import SweepDisplay
from mlpkit.sweep.ledger import Entry
from mlpkit.sweep.pruning import Judge
from mlpkit.system.paths import expand
from mlpkit.training.stop import StopRequest


@dataclass
class Work:
    """What a launcher is given.

    Attributes:
        folder: of the sweep.
        entries: the jobs that are to be trained, by their numbers.
        origin: the command line, and whose the sweep is.
        wish: to stop.
        display: shows how far it is.
        ended: called with the number of each job that has ended, and why, where it has failed.
        datasets: where data comes from.
        judge: of a search's trials, whose test scores are left to the winner; None where runs stand for
            themselves.
    """

    folder: SweepFolder
    entries: dict[int, Entry]
    origin: Origin
    wish: StopRequest
    display: SweepDisplay
    ended: Callable[[int, BaseException | None], None]
    datasets: Datasets = field(default_factory=Datasets)
    judge: Judge | None = None
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

    def origin_of(self, number: int) -> Origin:
        """Return where a job comes from: of the overrides of the sweep, those of the job alone."""
        mine = self.entries[number].overrides
        swept = {_key(line) for line in mine}
        shared = (line for line in self.origin.overrides if _key(line) not in swept)
        return replace(self.origin, overrides=(*shared, *mine))

    def _root(self, entry: Entry) -> str:
        """Return the folder of all runs: as it was given, or the sweep's where that has been moved."""
        root = entry.config.run.root
        inside = self.folder.path.resolve().is_relative_to(expand(root).resolve())
        return root if inside else str(self.folder.path)


Launcher = Callable[[Work], None]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def without_large(work: Work) -> Work:
    """Return the work without the jobs that are larger than they may be; those have failed."""
    if work.origin.trust.may_be_large:
        return work
    kept: dict[int, Entry] = {}
    for number, entry in work.entries.items():
        work.wish.check()
        try:
            dataset = work.datasets.load(entry.config.dataset)
            parameters = count(architecture(entry.config, dataset.input_schema))
            work.origin.trust.check_model(parameters, work.folder.ledger)
        except MlpkitError as error:
            work.ended(number, error)
        else:
            kept[number] = entry
    return replace(work, entries=kept)
