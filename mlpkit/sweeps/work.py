"""The jobs of a sweep and the services that a launcher needs to train them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mlpkit.config.config import Config
from mlpkit.errors import MlpkitError
from mlpkit.folders.origin import Origin
from mlpkit.folders.sweep_folder import SweepFolder
from mlpkit.models.architecture import architecture, count
from mlpkit.sweeps.datasets import Datasets
from mlpkit.sweeps.display import SweepDisplay
from mlpkit.sweeps.ledger import JobRecord
from mlpkit.sweeps.pruning import Judge
from mlpkit.system.paths import expand
from mlpkit.training.stop import StopRequest


@dataclass
class Work:
    """The argument of a launcher.

    Attributes:
        folder: the sweep folder.
        entries: the jobs to train, by number.
        origin: the command line, and whether the sweep is the user's own or foreign.
        stop: set when a stop signal arrives.
        display: shows the progress.
        on_end: called with each finished job's number and its error, or None.
        datasets: loads the data.
        judge: chooses the trials of a search to prune; None in a sweep. With a judge, runs are not scored on
            the test split: only the winner is.
        everything: these jobs and those that are done, if there are any.
    """

    folder: SweepFolder
    entries: dict[int, JobRecord]
    origin: Origin
    stop: StopRequest
    display: SweepDisplay
    on_end: Callable[[int, BaseException | None], None]
    datasets: Datasets = field(default_factory=Datasets)
    judge: Judge | None = None
    everything: dict[int, JobRecord] | None = None
    _warned: set[str] = field(default_factory=set)

    @property
    def all_entries(self) -> dict[int, JobRecord]:
        """The jobs to train and those that are done, which decide how the sweep is grouped."""
        return self.everything or self.entries

    def warn(self, line: str) -> None:
        """Print a warning; a line that several runs give is printed once."""
        if line not in self._warned:
            self._warned.add(line)
            self.display.note(line)

    def config(self, number: int) -> Config:
        """Return a job's config with its run folder filled in."""
        entry = self.entries[number]
        folder = str(self.folder.run(entry.folder))
        return entry.config.with_run(root=self._root(entry), dir=folder, resume="never")

    def origin_of(self, number: int) -> Origin:
        """Return a job's origin: swept overrides are replaced by the job's values."""
        job_overrides = self.entries[number].overrides
        swept = {_key(line) for line in job_overrides}
        shared = (line for line in self.origin.overrides if _key(line) not in swept)
        return replace(self.origin, overrides=(*shared, *job_overrides))

    def _root(self, entry: JobRecord) -> str:
        """Return run.root, or the sweep's folder if the sweep was moved out of it."""
        root = entry.config.run.root
        inside = self.folder.path.resolve().is_relative_to(expand(root).resolve())
        return root if inside else str(self.folder.path)


Launcher = Callable[[Work], None]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def without_large(work: Work) -> Work:
    """Return the work without jobs that are too large for a foreign sweep; these are reported as failed."""
    if work.origin.trust.may_be_large:
        return work
    kept: dict[int, JobRecord] = {}
    for number, entry in work.entries.items():
        work.stop.check()
        try:
            dataset = work.datasets.load(entry.config.dataset)
            parameters = count(architecture(entry.config, dataset.input_schema))
            parameters *= entry.config.model.networks
            work.origin.trust.check_model(parameters, work.folder.ledger)
        except MlpkitError as error:
            work.on_end(number, error)
        else:
            kept[number] = entry
    return replace(work, entries=kept)
