"""Checks the output paths that a user names, before any work is done, and writes output files."""

import glob
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mlpkit.errors import ConfigError
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.sweep_folder import SweepFolder, is_sweep
from mlpkit.system.atomic_write import atomic_stream, atomic_write
from mlpkit.system.failed_write import failed_write
from mlpkit.system.paths import expand


def check_output(path: Path, endings: Sequence[str], option: str = "--output") -> None:
    """Check that an output file can be written, and that it does not belong to a run or a sweep.

    Args:
        path: the value of the option.
        endings: the allowed suffixes.
        option: its name.

    Raises:
        ConfigError: the suffix is not allowed, the file cannot be written, or it belongs to a run or a sweep.
    """
    if path.suffix not in endings:
        raise ConfigError(f"{option}={path}: the ending must be one of {', '.join(endings)}")
    try:
        target = _target(path)
        with suppress(FileNotFoundError, NotADirectoryError):
            target.lstat()  # raises where the name is too long; from Python 3.14 on `exists` does not
        if not target.parent.is_dir():
            raise ConfigError(f"{option}={path}: its folder does not exist; make it first")
        if target.is_symlink() or (target.exists() and not target.is_file()):  # a link cycle is not resolved
            raise ConfigError(f"{option}={path}: is there and no regular file; choose another name")
        if target.exists() and not os.access(target, os.W_OK):
            raise ConfigError(f"{option}={path}: is write-protected; choose another name")
        if not os.access(target.parent, os.W_OK):
            raise ConfigError(f"{option}={path}: its folder is write-protected; choose another one")
    except OSError as error:
        raise ConfigError(f"{option}={path}: {error.strerror}; choose another name") from None
    _refuse_owned(target, f"{option}={path}")


def check_output_folder(path: Path, option: str) -> None:
    """Check that a folder can take files, and that it does not belong to a run or a sweep.

    Args:
        path: the value of the option.
        option: such as --plot-dir.

    Raises:
        ConfigError: the path is not a folder, or belongs to a run or a sweep.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{option}={path}: is there and no folder; choose another name")
    _refuse_owned(_target(path) / "file", f"{option}={path}")


def refuse_input(output: Path, source: str) -> None:
    """Refuse an output file that is also an input.

    Args:
        output: the value of --output.
        source: the input file or folder, or a pattern of files; - is stdin.

    Raises:
        ConfigError: both are the same file, even under different names.
    """
    try:
        written = output.stat()
    except OSError:  # it does not exist
        return
    if any(os.path.samestat(written, read) for read in _inputs(source)):
        name = "stdin" if source == "-" else source
        raise ConfigError(f"--output={output}: is what is read ({name}); choose another name")


def _inputs(source: str) -> Iterator[os.stat_result]:
    with suppress(OSError, ValueError, io.UnsupportedOperation):  # it does not exist, or is no path
        if source == "-":
            yield os.fstat(sys.stdin.fileno())
            return
        path = expand(source)
        if path.is_dir():
            yield from (file.stat() for file in path.iterdir())
        elif path.exists():
            yield path.stat()
        else:
            yield from (os.stat(file) for file in glob.iglob(str(path), recursive=True))  # noqa: PTH116, PTH207


def write_output(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all; a symbolic link is followed, since the user named it.

    Raises:
        WriteError: it cannot be written; an older file is left unchanged.
    """
    atomic_write(_target(path), content)


@contextmanager
def open_output(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for what is too large to be in memory; see `write_output`.

    Raises:
        WriteError: it cannot be written, or the block raised an OSError; an older file is left unchanged.
    """
    try:
        with atomic_stream(_target(path)) as stream:
            yield stream
    except OSError as error:
        raise failed_write(path, error) from None


def _target(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _refuse_owned(target: Path, option: str) -> None:
    for folder in target.parents:
        if RunFolder(folder).is_run and RunFolder(folder).owns(target):
            raise ConfigError(f"{option}: belongs to the run {folder}; choose another name")
        if is_sweep(folder) and SweepFolder(folder).owns(target):
            raise ConfigError(f"{option}: belongs to the sweep {folder}; choose another name")
