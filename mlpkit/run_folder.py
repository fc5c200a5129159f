"""The run folder: every file name of a run is spelled here, and here alone."""

import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlpkit.atomic_write import SUFFIX, atomic_write, sync_folder
from mlpkit.config import Config
from mlpkit.errors import ConfigError, DataError, WriteError
from mlpkit.problems import show


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config; `mlpkit train --config` repeats the run from it."""
        return self.path / "config.yaml"

    @property
    def command(self) -> Path:
        """The command line."""
        return self.path / "command.txt"

    @property
    def environment(self) -> Path:
        """Versions, device, threads, git commit."""
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        """A line of scores for each epoch and split."""
        return self.path / "metrics.jsonl"

    @property
    def summary(self) -> Path:
        """Status and final scores; there is none while the run has not ended."""
        return self.path / "summary.json"

    @property
    def log(self) -> Path:
        """What the console said."""
        return self.path / "train.log"

    @property
    def last(self) -> Path:
        """Checkpoint of the newest weights."""
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def best(self) -> Path:
        """Checkpoint of the weights with the best monitored score."""
        return self.path / "checkpoints" / "best.safetensors"

    def at_step(self, step: int) -> Path:
        """Checkpoint that was the newest one at a step, and is kept for when a newer one is damaged."""
        return self.path / "checkpoints" / f"step-{step:09d}.safetensors"

    def older(self) -> list[Path]:
        """Return the checkpoints that are kept beside the newest one, newest first."""
        found = self.last.parent.glob("step-*.safetensors")
        return sorted((path for path in found if _STEP.fullmatch(path.name)), key=step_of, reverse=True)

    @property
    def lock(self) -> Path:
        """Held by the process that writes here; says who that is."""
        return self.path / ".lock"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's event file."""
        return self.path / "tensorboard"

    @property
    def plots(self) -> Path:
        """Folder of the pictures."""
        return self.path / "plots"

    def reopen(self) -> None:
        """Remove what says how the run has ended, before anything else changes: it goes on.

        Raises:
            WriteError: it cannot be removed.
        """
        try:
            self.summary.unlink(missing_ok=True)
            sync_folder(self.path)
        except OSError as error:
            raise WriteError(
                f"{self.summary}: cannot be removed ({error.strerror}); make the folder writable"
            ) from None

    def make_newest(self, path: Path, step: int) -> None:
        """Let an older checkpoint take the place of the newest; what came after it goes.

        Raises:
            WriteError: it cannot be written.
        """
        atomic_write(self.last, path.read_bytes())
        for later in self.older():
            if step_of(later) > step:
                later.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the files of a run that has not begun; the lock stays."""
        files = (self.config, self.command, self.environment, self.metrics, self.log, self.summary)
        for path in (*files, *self.path.glob(f".*{SUFFIX}")):
            path.unlink(missing_ok=True)
        for folder in (self.tensorboard, self.last.parent):
            shutil.rmtree(folder, ignore_errors=True)

    def open_for_writing(self) -> None:
        """Check that what is written here stays here, and remove what a killed process left half-written.

        Raises:
            DataError: a file or folder of the run is a link or something else, and may lead elsewhere.
        """
        files = (self.config, self.command, self.environment, self.metrics, self.summary, self.log, self.lock)
        for path in files:
            refuse_other(path, stat.S_ISREG, "file")
        for folder in (self.last.parent, self.tensorboard, self.plots):
            refuse_other(folder, stat.S_ISDIR, "folder")
        for folder in (self.path, self.last.parent, self.plots):
            for path in folder.glob(f".*{SUFFIX}"):
                path.unlink(missing_ok=True)


_STEP = re.compile(r"step-([0-9]{9,18})\.safetensors", re.ASCII)


def step_of(path: Path) -> int:
    """Return the step in the name of a checkpoint that `older` found."""
    found = _STEP.fullmatch(path.name)
    return int(found[1]) if found else 0


def refuse_other(path: Path, is_kind: Callable[[int], bool], kind: str) -> None:
    """Refuse what is of another kind, or has names elsewhere.

    Args:
        path: where it should be, or nothing at all.
        is_kind: says of a mode whether it is.
        kind: what it should be.

    Raises:
        DataError: it is not.
    """
    try:
        about = path.lstat()
    except FileNotFoundError:
        return
    mode = about.st_mode
    if not is_kind(mode) or (kind == "file" and about.st_nlink > 1):
        raise DataError(f"{path}: may lead out of the run; put a {kind} of its own there")


def create(config: Config) -> RunFolder:
    """Make the folder of a new run; no other process can be given the same.

    Raises:
        ConfigError: run.dir lies outside run.root or already holds a run.
        WriteError: the folder cannot be made.
    """
    try:
        root = Path(config.run.root).expanduser()
        if config.run.dir is not None:
            return _create_named(root, Path(config.run.dir).expanduser())
        group = root / (config.run.name or f"{config.dataset.name}-{config.model.name}")
        group.mkdir(parents=True, exist_ok=True)
        while True:
            path = group / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
            try:
                path.mkdir()
            except FileExistsError:
                continue  # one chance in 16 million for two runs of the same second
            sync_folder(group)
            return RunFolder(path)
    except OSError as error:
        raise WriteError(
            f"{error.filename}: cannot make the run folder ({error.strerror}); choose another run.root"
        ) from None
    except (RuntimeError, ValueError) as error:  # ~nobody, or a NUL byte
        raise ConfigError(f"run.root={show(config.run.root)}: no path ({error}); choose another") from None


def _check_inside(root: Path, path: Path) -> None:
    if not path.resolve().is_relative_to(root.resolve()):
        raise ConfigError(f"run.dir={path}: outside run.root={root}; set run.root={path.parent} as well")


def _create_named(root: Path, path: Path) -> RunFolder:
    _check_inside(root, path)
    above = next((p for p in path.parents if RunFolder(p).config.is_file()), None)
    if above is not None:
        raise ConfigError(f"run.dir={path}: inside the run {above}; name a folder beside it")
    if RunFolder(path).config.exists():
        raise ConfigError(
            f"run.dir={path}: already holds a run; name a new folder, or go on: mlpkit resume {path}"
        )
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"run.dir={path}: already holds other files; name a new folder")
    path.mkdir(parents=True, exist_ok=True)
    try:
        RunFolder(path).config.open("x").close()  # of two runs that start at once, one gets the folder
    except FileExistsError:
        raise ConfigError(f"run.dir={path}: another run has just taken it; name a new folder") from None
    return RunFolder(path)


def existing(config: Config) -> RunFolder | None:
    """Return the folder that run.dir names where it holds a run, or None where a new one is to be made.

    Raises:
        ConfigError: run.dir lies outside run.root.
    """
    try:
        root, path = Path(config.run.root).expanduser(), Path(str(config.run.dir)).expanduser()
        _check_inside(root, path)
        folder = RunFolder(path)
        return folder if folder.config.exists() else None
    except (OSError, RuntimeError, ValueError) as error:  # ~nobody, a NUL byte, or too long a name
        raise ConfigError(f"run.dir={show(config.run.dir)}: no path ({error}); choose another") from None


def find_run(run: str | None, root: str = "outputs") -> RunFolder:
    """Return the run folder that RUN means; None is the newest run under the root.

    Raises:
        DataError: there is no such run.
    """
    path = _named_or_newest(run, root)
    folder = path.parent.parent if path.parent.name == "checkpoints" and not path.is_dir() else path
    if not RunFolder(folder).config.exists():
        raise DataError(f"{path}: not a run folder (it has no config.yaml), which this command needs")
    return RunFolder(folder)


def find_checkpoints(run: str | None, which: str, root: str = "outputs") -> list[Path]:
    """Return the checkpoint files that RUN means, the one that is wanted first.

    Those after it serve where it is damaged.

    Args:
        run: a run folder or a checkpoint file; None is the newest run under the root.
        which: best or last, for a folder; best falls back on last where there is no best yet.
        root: where the newest run is looked for.

    Raises:
        DataError: there is no such run, or it has no checkpoint.
    """
    path = _named_or_newest(run, root)
    if not path.is_dir():
        return [path]
    folder = RunFolder(path)
    wanted = [*([folder.best] if which == "best" else []), folder.last, *folder.older()]
    found = [file for file in wanted if file.exists()]
    if not found:
        raise DataError(f"{path}: holds no checkpoint ({folder.last.relative_to(path)}); name a run folder")
    return found


def _named_or_newest(run: str | None, root: str) -> Path:
    path = Path(run) if run is not None else newest(root)
    if not path.exists():
        raise DataError(f"{path}: no such run folder or checkpoint")
    return path


def newest(root: str = "outputs") -> Path:
    """Return the folder of the run that was started last, of those that have a checkpoint.

    Raises:
        DataError: there is none.
    """
    trained = [RunFolder(file.parents[1]) for file in Path(root).rglob("checkpoints/last.safetensors")]
    trained = [folder for folder in trained if folder.config.is_file()]
    if not trained:
        raise DataError(f"no trained run under {root}/; start one with `mlpkit train`, or name a run folder")
    return max(trained, key=lambda folder: (folder.config.stat().st_mtime_ns, folder.path.name)).path
