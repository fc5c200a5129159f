"""A file that a command is asked to write: whether that can be done, known before any work."""

from collections.abc import Sequence
from pathlib import Path

from mlpkit.errors import ConfigError


def check_output(path: Path, endings: Sequence[str]) -> None:
    """Refuse, before any work, a file that could not be written as its ending says.

    Args:
        path: the value of --output.
        endings: the suffixes that can be written.

    Raises:
        ConfigError: it could not.
    """
    if path.suffix not in endings:
        raise ConfigError(f"--output={path}: the ending must be one of {', '.join(endings)}")
    try:
        if not path.absolute().parent.is_dir():
            raise ConfigError(f"--output={path}: its folder does not exist; make it first")
        if path.exists() and not path.is_file():
            raise ConfigError(f"--output={path}: is there and no regular file; choose another name")
    except OSError as error:
        raise ConfigError(f"--output={path}: {error.strerror}; choose another name") from None
