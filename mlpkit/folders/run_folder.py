"""The run folder: the only module that knows the names of a run's files."""

import os
import re
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlpkit.errors import DataError, WriteError
from mlpkit.system.atomic_write import SUFFIX, atomic_write, sync_folder

if TYPE_CHECKING:
    from mlpkit.config.config import Config


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config; `mlpkit train --config` repeats the run."""
        return self.path / "config.yaml"

    @property
    def command(self) -> Path:
        """The command lines that started and resumed the run."""
        return self.path / "command.txt"

    @property
    def overrides(self) -> Path:
        """YAML: the overrides of the command lines."""
        return self.path / "overrides.yaml"

    @property
    def environment(self) -> Path:
        """Versions, plug-ins, device, threads and git commit."""
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        """A line of scores for each epoch and split."""
        return self.path / "metrics.jsonl"

    @property
    def summary(self) -> Path:
        """Status and final scores; missing until the run ends."""
        return self.path / "summary.json"

    @property
    def labels(self) -> Path:
        """JSON: the tags and the note that the user gave; missing until there are some."""
        return self.path / LABELS

    @property
    def report(self) -> Path:
        """HTML: what `mlpkit report` has written; missing until then."""
        return self.path / REPORT

    @property
    def tracking(self) -> Path:
        """JSON: the id by which trackers know the run; missing until it was first sent to one."""
        return self.path / "tracking.json"

    @property
    def fork(self) -> Path:
        """JSON: the run and the step at which this run branches off; missing if it does not."""
        return self.path / "fork.json"

    @property
    def film(self) -> Path:
        """The weights every few epochs; missing without run.film."""
        return self.path / "film.bin"

    @property
    def log(self) -> Path:
        """The lines shown on the console."""
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
        """An older checkpoint, kept in case a newer one is damaged."""
        return self.path / "checkpoints" / f"step-{step:09d}.safetensors"

    def older(self) -> list[Path]:
        """Return the older checkpoints, newest first."""
        paths = self.last.parent.glob("step-*.safetensors")
        return sorted((path for path in paths if _STEP.fullmatch(path.name)), key=step_of, reverse=True)

    @property
    def lock(self) -> Path:
        """Locked by the process that writes here; names its host and process id."""
        return self.path / ".lock"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's event file."""
        return self.path / "tensorboard"

    @property
    def plots(self) -> Path:
        """The folder of plots."""
        return self.path / "plots"

    @property
    def is_one_file(self) -> bool:
        """Whether the run is its newest checkpoint alone, as `run.files=minimal` leaves a finished run.

        A link in its place may lead elsewhere, and is none.
        """
        others = self.config, self.environment  # a run that has one of them has others too
        if not self.last.is_file() or any(map(os.path.lexists, others)):
            return False
        return not (self.last.is_symlink() or self.last.parent.is_symlink())

    @property
    def config_file(self) -> Path:
        """The file that `--config` reads: config.yaml, or the only file of a run."""
        return self.last if self.is_one_file else self.config

    @property
    def is_run(self) -> bool:
        """Whether the folder holds a run: other tools have a config.yaml too, often beside a train.log."""
        if not self.config.is_file():
            return self.is_one_file
        with suppress(OSError), self.config.open("rb") as stream:
            if stream.read(len(_FIRST_KEY)) == _FIRST_KEY:
                return True
        return self.environment.exists() or self.last.exists()  # a damaged run

    def write_config(self, config: "Config") -> None:
        """Write the resolved config, whole or not at all.

        Raises:
            WriteError: it cannot be written.
        """
        from mlpkit.config import yaml_file  # not at the top: `mlpkit ls` needs no config
        from mlpkit.config.config import to_dict

        atomic_write(self.config, yaml_file.dump(to_dict(config)).encode())

    def has_begun(self) -> bool:
        """Whether the run has started: not if it was killed while its folder was being made."""
        return (self.config.exists() and self.config.stat().st_size > 0) or self.last.exists()

    @property
    def files(self) -> tuple[Path, ...]:
        """The run's files outside of `folders`."""
        return (
            self.config,
            self.command,
            self.overrides,
            self.environment,
            self.metrics,
            self.summary,
            self.labels,
            self.report,
            self.tracking,
            self.fork,
            self.film,
            self.log,
            self.lock,
        )

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of checkpoints, TensorBoard events and plots."""
        return self.last.parent, self.tensorboard, self.plots

    def owns(self, path: Path) -> bool:
        """Whether a path is one that the run itself writes."""
        return path in self.files or not {path, *path.parents}.isdisjoint(self.folders)

    def keep_newest(self, step: int) -> None:
        """Keep the newest checkpoint under its step's name: a hard link, or a copy where there are none."""
        _link(self.last, self.at_step(step))

    def reopen(self) -> None:
        """Remove the summary of a run that is resumed, before any other file changes.

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

    def keep_one_file(self) -> None:
        """Remove the files beside the newest checkpoint that a failed or resumed run has written.

        Raises:
            WriteError: one cannot be removed.
        """
        try:
            for path in (self.summary, self.config, *self.older()):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise WriteError(
                f"{self.path}: a file of it cannot be removed ({error.strerror}); make the folder writable"
            ) from None

    def rewind_to(self, path: Path, step: int) -> None:
        """Make an older checkpoint the newest and delete later ones.

        Raises:
            WriteError: the checkpoint cannot be written.
        """
        atomic_write(self.last, path.read_bytes())
        for later in self.older():
            if step_of(later) > step:
                later.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the files of a run that has not started, except the lock."""
        files = [path for path in self.files if path != self.lock]
        for path in (*files, *self.path.glob(f".*{SUFFIX}")):
            path.unlink(missing_ok=True)
        for folder in (self.tensorboard, self.last.parent):
            shutil.rmtree(folder, ignore_errors=True)

    def open_for_writing(self) -> None:
        """Check that writes stay inside the run folder, and remove unfinished files of a killed process.

        Raises:
            DataError: a file or folder of the run is a link, or of another kind.
        """
        for path in self.files:
            refuse_other_kind(path, stat.S_ISREG, "file")
        for folder in self.folders:
            refuse_other_kind(folder, stat.S_ISDIR, "folder")
        for folder in (self.path, self.last.parent, self.plots):
            for path in folder.glob(f".*{SUFFIX}"):
                path.unlink(missing_ok=True)


LABELS, REPORT = "labels.json", "report.html"  # in run folders and sweep folders
_FIRST_KEY = b"format: "  # of a run's config.yaml
_STEP = re.compile(r"step-([0-9]{9,18})\.safetensors", re.ASCII)


def step_of(path: Path) -> int:
    """Return the step in the name of an older checkpoint."""
    match = _STEP.fullmatch(path.name)
    return int(match[1]) if match else 0


def refuse_other_kind(path: Path, is_kind: Callable[[int], bool], kind: str) -> None:
    """Refuse a path that is a link or of another kind; a missing path is accepted.

    Args:
        path: the path to check.
        is_kind: tells whether a file mode is of the right kind, as `stat.S_ISREG` does.
        kind: name of the kind for the error: file or folder.

    Raises:
        DataError: the path is a symbolic link, a file with several hard links, or of another kind.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not is_kind(status.st_mode) or (kind == "file" and status.st_nlink > 1):
        raise DataError(f"{path}: may lead out of the run; put a {kind} of its own there")


def _link(path: Path, name: Path) -> None:
    name.unlink(missing_ok=True)
    try:
        os.link(path, name)
    except OSError:
        atomic_write(name, path.read_bytes())
