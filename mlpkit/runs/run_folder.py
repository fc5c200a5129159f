"""The run folder: every file name of a run is spelled here, and here alone."""

import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from mlpkit.config.config import Config, to_dict
from mlpkit.config.problems import show
from mlpkit.errors import ConfigError, DataError, WriteError
from mlpkit.runs.trust import Trust
from mlpkit.system.atomic_write import SUFFIX, atomic_write, sync_folder
from mlpkit.system.lock import locked
from mlpkit.system.paths import expand


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
    def overrides(self) -> Path:
        """YAML: the settings that were typed."""
        return self.path / "overrides.yaml"

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

    @property
    def is_run(self) -> bool:
        """Whether a run lies there: many a folder that has nothing to do with mlpkit holds a config.yaml."""
        others = (self.command, self.environment, self.metrics, self.summary, self.log, self.last)
        return self.config.is_file() and any(path.exists() for path in others)

    def write_config(self, config: Config) -> None:
        """Write the resolved config, whole or not at all.

        Raises:
            WriteError: it cannot be written.
        """
        atomic_write(self.config, yaml.safe_dump(to_dict(config), sort_keys=False).encode())

    def has_begun(self) -> bool:
        """Whether a run lies there; one that was killed while its folder was made has not begun."""
        return (self.config.exists() and self.config.stat().st_size > 0) or self.last.exists()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files beside the folders of checkpoints, TensorBoard's and pictures."""
        return (
            self.config,
            self.command,
            self.overrides,
            self.environment,
            self.metrics,
            self.summary,
            self.log,
            self.lock,
        )

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of checkpoints, TensorBoard's events and pictures."""
        return self.last.parent, self.tensorboard, self.plots

    def owns(self, path: Path) -> bool:
        """Whether the run itself writes to that path, or may."""
        return path in self.files or not {path, *path.parents}.isdisjoint(self.folders)

    def keep_newest(self, step: int) -> None:
        """Give the newest checkpoint its step's name too; a copy, where the file system knows no links."""
        _link(self.last, self.at_step(step))

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

    def rewind_to(self, path: Path, step: int) -> None:
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
        files = [path for path in self.files if path != self.lock]
        for path in (*files, *self.path.glob(f".*{SUFFIX}")):
            path.unlink(missing_ok=True)
        for folder in (self.tensorboard, self.last.parent):
            shutil.rmtree(folder, ignore_errors=True)

    def open_for_writing(self) -> None:
        """Check that what is written here stays here, and remove what a killed process left half-written.

        Raises:
            DataError: a file or folder of the run is a link or something else, and may lead elsewhere.
        """
        for path in self.files:
            refuse_other_kind(path, stat.S_ISREG, "file")
        for folder in self.folders:
            refuse_other_kind(folder, stat.S_ISDIR, "folder")
        for folder in (self.path, self.last.parent, self.plots):
            for path in folder.glob(f".*{SUFFIX}"):
                path.unlink(missing_ok=True)


_STEP = re.compile(r"step-([0-9]{9,18})\.safetensors", re.ASCII)


def step_of(path: Path) -> int:
    """Return the step in the name of a checkpoint that `older` found."""
    found = _STEP.fullmatch(path.name)
    return int(found[1]) if found else 0


def refuse_other_kind(path: Path, is_kind: Callable[[int], bool], kind: str) -> None:
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


def create(config: Config, trust: Trust) -> RunFolder:
    """Make the folder of a new run; no other process can be given the same.

    Args:
        config: of the run.
        trust: says whether run.dir may lie outside of run.root.

    Raises:
        ConfigError: run.dir lies where it must not or already holds a run.
        WriteError: the folder cannot be made.
    """
    try:
        root = expand(config.run.root)
        if config.run.dir is not None:
            return _create_named(resolve_run_dir(config, trust), config)
        group = root / (config.run.name or f"{config.dataset.name}-{config.model.name}")
        group.mkdir(parents=True, exist_ok=True)
        while True:
            path = group / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
            try:
                path.mkdir()
            except FileExistsError:
                continue  # one chance in 16 million for two runs of the same second
            sync_folder(group)
            with _removed_on_failure(path):
                RunFolder(path).write_config(config)
            return RunFolder(path)
    except OSError as error:
        raise WriteError(
            f"{error.filename}: cannot make the run folder ({error.strerror}); choose another run.root"
        ) from None
    except ValueError as error:  # a NUL byte
        raise ConfigError(f"run.root={show(config.run.root)}: no path ({error}); choose another") from None


def resolve_run_dir(config: Config, trust: Trust) -> Path:
    """Return the folder that run.dir names.

    Raises:
        ConfigError: it is no path, or it lies outside of run.root and the config is foreign.
    """
    try:
        root, path = expand(config.run.root), expand(str(config.run.dir))
        is_inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, ValueError) as error:  # a NUL byte
        raise ConfigError(f"run.dir={show(config.run.dir)}: no path ({error}); choose another") from None
    if not (is_inside or trust.may_write_anywhere):
        raise ConfigError(f"run.dir={path}: outside run.root={root}; type run.dir={path} to write there")
    return path


def _create_named(path: Path, config: Config) -> RunFolder:
    above = next((p for p in path.parents if RunFolder(p).is_run), None)
    if above is not None:
        raise ConfigError(f"run.dir={path}: inside the run {above}; name a folder beside it")
    _check_free(RunFolder(path))
    path.mkdir(parents=True, exist_ok=True)
    folder = RunFolder(path)
    with (
        _removed_on_failure(path),
        locked(folder.lock),
    ):  # of two runs that start at once, one gets the folder
        _check_free(folder)
        folder.write_config(config)
    return folder


def _check_free(folder: RunFolder) -> None:
    """Refuse a folder that holds more than a killed process leaves of a run that has not begun."""
    path = folder.path
    if folder.has_begun():
        raise ConfigError(
            f"run.dir={path}: already holds a run; name a new folder, or go on: mlpkit resume {path}"
        )
    left = (folder.lock, folder.config, *path.glob(f".{folder.config.name}.*{SUFFIX}"))
    if path.exists() and (not path.is_dir() or any(file not in left for file in path.iterdir())):
        raise ConfigError(f"run.dir={path}: already holds other files; name a new folder")


@contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    """Remove a new folder where its config cannot be written: from there on a run can go on."""
    try:
        yield
    except WriteError:
        with suppress(OSError):
            path.rmdir()
        raise


def existing_run(config: Config, trust: Trust) -> RunFolder | None:
    """Return the folder that run.dir names where it holds a run, or None where a new one is to be made.

    Raises:
        ConfigError: it lies where it must not.
    """
    try:
        folder = RunFolder(resolve_run_dir(config, trust))
        return folder if folder.has_begun() else None
    except (OSError, ValueError) as error:  # a NUL byte, or too long a name
        raise ConfigError(f"run.dir={show(config.run.dir)}: no path ({error}); choose another") from None


def find_run(path: Path) -> RunFolder:
    """Return the run folder that a path means: itself, or that in which a checkpoint lies.

    Raises:
        DataError: there is no such run.
    """
    _check_exists(path)
    folder = path.parent.parent if path.parent.name == "checkpoints" and not path.is_dir() else path
    if not RunFolder(folder).config.exists():
        raise DataError(f"{path}: not a run folder (it has no config.yaml), which this command needs")
    if not RunFolder(folder).has_begun():
        raise DataError(f"{path}: this run was killed before it began; train it anew into the same folder")
    return RunFolder(folder)


def find_checkpoints(path: Path, which: str) -> list[Path]:
    """Return the checkpoint files that a path means, the one that is wanted first.

    Those after it serve where it is damaged.

    Args:
        path: a run folder or a checkpoint file.
        which: best or last, for a folder; best falls back on last where there is no best yet.

    Raises:
        DataError: there is no such run, or it has no checkpoint.
    """
    _check_exists(path)
    if not path.is_dir():
        return [path]
    folder = RunFolder(path)
    wanted = [*([folder.best] if which == "best" else []), folder.last, *folder.older()]
    found = [file for file in wanted if file.exists()]
    if not found:
        raise DataError(f"{path}: holds no checkpoint ({folder.last.relative_to(path)}); name a run folder")
    return found


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise DataError(f"{path}: no such run folder or checkpoint")


def newest_run(root: Path) -> Path | None:
    """Return the folder of the run below a folder that was started last, of those that have a checkpoint.

    None is returned where there is no such run.
    """
    trained = [RunFolder(file.parents[1]) for file in root.rglob("checkpoints/last.safetensors")]
    trained = [folder for folder in trained if folder.config.is_file()]
    if not trained:
        return None
    return max(trained, key=lambda folder: (folder.config.stat().st_mtime_ns, folder.path.name)).path


def _link(path: Path, name: Path) -> None:
    name.unlink(missing_ok=True)
    try:
        os.link(path, name)
    except OSError:
        atomic_write(name, path.read_bytes())
