"""The sweep folder: run folders, and the ledger with the status of each run."""

import re
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlpkit.config.problems import show
from mlpkit.errors import ConfigError, DataError, WriteError
from mlpkit.folders.run_folder import LABELS, REPORT, refuse_other_kind
from mlpkit.system.atomic_write import SUFFIX
from mlpkit.system.paths import expand

if TYPE_CHECKING:
    from mlpkit.config.config import Config

# The last bytes of a journal that names a super-journal, a file anywhere that SQLite would delete.
_NAMES_ANOTHER = bytes.fromhex("d9d505f920a163d7")

_RUN = re.compile(r"[0-9]{4,7}-[0-9a-f]{6}", re.ASCII)


@dataclass(frozen=True)
class SweepFolder:
    """The paths of a sweep."""

    path: Path

    @property
    def ledger(self) -> Path:
        """SQLite: the jobs and their status."""
        return self.path / "ledger.sqlite"

    @property
    def command(self) -> Path:
        """The command lines."""
        return self.path / "command.txt"

    @property
    def overrides(self) -> Path:
        """YAML: the overrides of the command lines."""
        return self.path / "overrides.yaml"

    @property
    def search(self) -> Path:
        """JSON: the settings of a search; missing in an ordinary sweep."""
        return self.path / "search.json"

    @property
    def launcher(self) -> Path:
        """JSON: the launcher and its settings; missing in a sweep that was trained without one."""
        return self.path / "launcher.json"

    @property
    def study(self) -> Path:
        """SQLite: the Optuna study of a search."""
        return self.path / "search.sqlite"

    @property
    def labels(self) -> Path:
        """JSON: the tags and the note that the user gave; missing until there are some."""
        return self.path / LABELS

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's event files: a folder for each run, named by what varies."""
        return self.path / "tensorboard"

    @property
    def plots(self) -> Path:
        """The folder of pictures that compare its runs."""
        return self.path / "plots"

    @property
    def report(self) -> Path:
        """HTML: what `mlpkit report` has written; missing until then."""
        return self.path / REPORT

    @property
    def fit(self) -> Path:
        """JSON: the comparison by which `mlpkit fit` chose this model; missing in other sweeps."""
        return self.path / "fit.json"

    @property
    def lock(self) -> Path:
        """Locked by the process that writes here."""
        return self.path / ".lock"

    @property
    def files(self) -> tuple[Path, ...]:
        """The sweep's files outside of the run folders."""
        databases = [path for file in (self.ledger, self.study) for path in (file, *journals(file))]
        texts = self.search, self.launcher, self.command, self.overrides, self.labels, self.report, self.fit
        return (*databases, *texts, self.lock)

    def owns(self, path: Path) -> bool:
        """Whether a path is one that the sweep itself writes."""
        return path in self.files or self.tensorboard in (path, *path.parents)

    def run(self, name: str) -> Path:
        """Return a run's folder.

        Raises:
            ValueError: it is not the name of a run folder.
        """
        if not is_run_name(name):
            raise ValueError(name)
        return self.path / name

    def open_for_writing(self) -> None:
        """Check that writes stay inside the sweep folder.

        Raises:
            DataError: a file is a link or of another kind, or a journal that mlpkit does not write.
        """
        for path in self.files:
            refuse_other_kind(path, stat.S_ISREG, "file")
        for file in (self.ledger, self.study):
            _refuse_foreign(*journals(file))


def journals(database: Path) -> list[Path]:
    """Return the journal files that SQLite may write beside a database."""
    return [database.with_name(f"{database.name}-{kind}") for kind in ("journal", "wal", "shm")]


def _refuse_foreign(journal: Path, *others: Path) -> None:
    """Refuse journals that mlpkit does not write: SQLite applies them when it opens the database.

    Raises:
        DataError: such a journal exists.
    """
    for path in others:
        if path.exists():
            raise DataError(f"{path}: mlpkit writes no such file; remove it")
    if not journal.exists():
        return
    try:
        with journal.open("rb") as file:
            file.seek(max(0, journal.stat().st_size - len(_NAMES_ANOTHER)))
            names_another = file.read() == _NAMES_ANOTHER
    except OSError as error:
        raise DataError(f"{journal}: cannot be read ({error.strerror})") from None
    if names_another:
        raise DataError(f"{journal}: would have SQLite remove another file; remove this one")


def unfinished(ledger: Path) -> list[Path]:
    """Return the temporary files of a new ledger, which a killed process may leave."""
    path = ledger.with_name(f".{ledger.name}{SUFFIX}")
    return [path, *journals(path)]


def is_run_name(text: str) -> bool:
    """Whether a text is a name that `run_name` can return."""
    return _RUN.fullmatch(text) is not None


def run_name(number: int, key: str) -> str:
    """Return the name of a run's folder: its number in the sweep and the first digits of its config key."""
    return f"{number:04d}-{key[:6]}"


def is_sweep(path: Path) -> bool:
    """Whether the folder holds a sweep."""
    return SweepFolder(path).ledger.is_file()


def create(configs: "Sequence[Config]") -> SweepFolder:
    """Make the folder of a new sweep; no two processes get the same folder, unless run.dir names it.

    Raises:
        ConfigError: run.dir names a folder that already holds files, a run.* key differs between jobs, or
            trainer.processes is not 1.
        LockedError: another process is training a sweep there.
        WriteError: the folder cannot be made.
    """
    if (processes := max(config.trainer.processes for config in configs)) > 1:
        raise ConfigError(
            f"trainer.processes={processes}: is for one run, and a sweep trains many together; leave it out"
        )
    run = configs[0].run
    for name, value in run:
        if other := next((c.run for c in configs if getattr(c.run, name) != value), None):
            raise ConfigError(
                f"run.{name}={show(value)},{show(getattr(other, name))}: where a sweep goes and what it "
                "writes is the same for all of its runs; give one value"
            )
    from mlpkit.system.lock import locked  # not at the top: `mlpkit ls` needs no lock

    root = expand(run.root)
    try:
        if run.dir is not None:
            path = expand(run.dir)
            left = [SweepFolder(path).lock, *unfinished(SweepFolder(path).ledger)]  # by a killed process
            if SweepFolder(path).lock.exists():
                with locked(SweepFolder(path).lock):  # raises if another process holds it
                    pass
            if is_sweep(path):
                raise ConfigError(
                    f"run.dir={path}: already holds a sweep; name a new folder, or mlpkit resume {path}"
                )
            if path.exists() and (not path.is_dir() or any(file not in left for file in path.iterdir())):
                raise ConfigError(f"run.dir={path}: already holds other files; name a new folder")
            path.mkdir(parents=True, exist_ok=True)
            return SweepFolder(path)
        datasets = "+".join(dict.fromkeys(config.dataset.title() for config in configs))
        models = "+".join(dict.fromkeys(config.model.name for config in configs))
        group = root / (run.name or f"{datasets}-{models}")
        group.mkdir(parents=True, exist_ok=True)
        path = group / f"sweep-{time.strftime('%Y%m%d-%H%M%S')}"
        while True:
            try:
                path.mkdir()
            except FileExistsError:
                path = path.with_name(f"{path.name[:21]}-{secrets.token_hex(2)}")
            else:
                return SweepFolder(path)
    except OSError as error:
        raise WriteError(
            f"{error.filename}: cannot make the sweep's folder ({error.strerror}); choose another run.root"
        ) from None


@contextmanager
def removed_if_unused(folder: SweepFolder, config: "Config") -> Iterator[None]:
    """Remove the new folder of a sweep if the block fails before it has written anything into it.

    A folder that run.dir names stays: it may have been there before.
    """
    try:
        yield
    except BaseException:
        if config.run.dir is None:
            with suppress(OSError):  # it holds something
                folder.path.rmdir()
        raise
