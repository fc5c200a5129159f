"""The run folder: every file name of a run is spelled here, and here alone."""

import secrets
import time
from dataclasses import dataclass
from pathlib import Path

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
        """Status and final scores."""
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

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's event file."""
        return self.path / "tensorboard"

    @property
    def plots(self) -> Path:
        """Folder of the pictures."""
        return self.path / "plots"


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
            return RunFolder(path)
    except OSError as error:
        raise WriteError(
            f"{error.filename}: cannot make the run folder ({error.strerror}); choose another run.root"
        ) from None
    except (RuntimeError, ValueError) as error:  # ~nobody, or a NUL byte
        raise ConfigError(f"run.root={show(config.run.root)}: no path ({error}); choose another") from None


def _create_named(root: Path, path: Path) -> RunFolder:
    if not path.resolve().is_relative_to(root.resolve()):
        raise ConfigError(f"run.dir={path}: outside run.root={root}; set run.root={path.parent} as well")
    above = next((p for p in path.parents if RunFolder(p).config.is_file()), None)
    if above is not None:
        raise ConfigError(f"run.dir={path}: inside the run {above}; name a folder beside it")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"run.dir={path}: already holds a run or other files; name a new folder")
    path.mkdir(parents=True, exist_ok=True)
    try:
        RunFolder(path).config.open("x").close()  # of two runs that start at once, one gets the folder
    except FileExistsError:
        raise ConfigError(f"run.dir={path}: another run has just taken it; name a new folder") from None
    return RunFolder(path)


def find_checkpoint(run: str | None, which: str, root: str = "outputs") -> Path:
    """Return the checkpoint file that RUN means.

    Args:
        run: a run folder or a checkpoint file; None is the newest run under the root.
        which: best or last, for a folder; best falls back on last where there is no best yet.
        root: where the newest run is looked for.

    Raises:
        DataError: there is no such run, or it has no checkpoint.
    """
    path = Path(run) if run is not None else newest(root)
    if not path.exists():
        raise DataError(f"{path}: no such run folder or checkpoint")
    if not path.is_dir():
        return path
    folder = RunFolder(path)
    wanted = [folder.best, folder.last] if which == "best" else [folder.last]
    found = next((file for file in wanted if file.is_file()), None)
    if found is None:
        raise DataError(f"{path}: holds no checkpoint ({wanted[-1].relative_to(path)}); name a run folder")
    return found


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
