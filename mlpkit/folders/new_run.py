"""Makes the folder of a new run, and finds the run that run.dir names."""

import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from mlpkit.config.config import Config
from mlpkit.config.problems import show
from mlpkit.errors import ConfigError, WriteError
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.trust import Trust
from mlpkit.system.atomic_write import SUFFIX, sync_folder
from mlpkit.system.lock import locked
from mlpkit.system.paths import expand


def create(config: Config, trust: Trust, locks: ExitStack) -> RunFolder:
    """Make the folder of a new run, with its config, and lock it; no two processes get the same folder.

    Args:
        config: the run's config.
        trust: decides whether run.dir may be outside of run.root.
        locks: holds the lock of the folder until it is closed.

    Raises:
        ConfigError: run.dir is not allowed, or already holds files.
        WriteError: the folder cannot be made.
    """
    try:
        root = expand(config.run.root)
        if config.run.dir is not None:
            return _create_named(resolve_run_dir(config, trust), config, locks)
        group = root / (config.run.name or f"{config.dataset.title()}-{config.model.name}")
        group.mkdir(parents=True, exist_ok=True)
        while True:
            path = group / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
            try:
                path.mkdir()
            except FileExistsError:
                continue  # two runs of the same second: one chance in 16 million
            sync_folder(group)
            return _fill(path, config, locks)
    except OSError as error:
        raise WriteError(
            f"{error.filename}: cannot make the run folder ({error.strerror}); choose another run.root"
        ) from None
    except ValueError as error:  # a NUL byte
        raise ConfigError(
            f"run.root={show(config.run.root)}: not a valid path ({error}); choose another"
        ) from None


def resolve_run_dir(config: Config, trust: Trust) -> Path:
    """Return the folder that run.dir names.

    Raises:
        ConfigError: it is not a valid path, or a foreign config names a folder outside of run.root.
    """
    try:
        root, path = expand(config.run.root), expand(str(config.run.dir))
        is_inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, ValueError) as error:  # a NUL byte
        raise ConfigError(
            f"run.dir={show(config.run.dir)}: not a valid path ({error}); choose another"
        ) from None
    if not (is_inside or trust.may_write_anywhere):
        raise ConfigError(f"run.dir={path}: outside run.root={root}; type run.dir={path} to write there")
    return path


def _create_named(path: Path, config: Config, locks: ExitStack) -> RunFolder:
    above = next((p for p in path.parents if RunFolder(p).is_run), None)
    if above is not None:
        raise ConfigError(f"run.dir={path}: inside the run {above}; name a folder beside it")
    _check_free(RunFolder(path))
    path.mkdir(parents=True, exist_ok=True)
    return _fill(path, config, locks)


def _fill(path: Path, config: Config, locks: ExitStack) -> RunFolder:
    """Lock a folder and write the config; of two runs that start at once, one gets the folder.

    With run.files=minimal the config is written with the first checkpoint.
    """
    folder = RunFolder(path)
    with _removed_on_failure(path), ExitStack() as held:
        held.enter_context(locked(folder.lock))
        _check_free(folder)
        for unfinished in _unfinished_configs(folder):  # of a process that was killed
            unfinished.unlink(missing_ok=True)
        if config.run.files == "all":
            folder.write_config(config)
        locks.enter_context(held.pop_all())
    return folder


def _check_free(folder: RunFolder) -> None:
    """Refuse a folder that holds files, other than those of a run that was killed before it started."""
    path = folder.path
    if folder.has_begun():
        raise ConfigError(
            f"run.dir={path}: already holds a run; name a new folder, or go on: mlpkit resume {path}"
        )
    left = (folder.lock, folder.config, *_unfinished_configs(folder))
    if path.exists() and (not path.is_dir() or any(file not in left for file in path.iterdir())):
        raise ConfigError(f"run.dir={path}: already holds other files; name a new folder")


def _unfinished_configs(folder: RunFolder) -> list[Path]:
    return list(folder.path.glob(f".{folder.config.name}.*{SUFFIX}"))


@contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    """Remove the new folder if its config cannot be written; once it is written, the run can be resumed."""
    try:
        yield
    except WriteError:
        with suppress(OSError):
            path.rmdir()
        raise


def existing_run(config: Config, trust: Trust) -> RunFolder | None:
    """Return the folder that run.dir names if it holds a run, else None.

    Raises:
        ConfigError: run.dir is not allowed.
    """
    try:
        folder = RunFolder(resolve_run_dir(config, trust))
        return folder if folder.has_begun() else None
    except (OSError, ValueError) as error:  # a NUL byte, or too long a name
        raise ConfigError(
            f"run.dir={show(config.run.dir)}: not a valid path ({error}); choose another"
        ) from None
