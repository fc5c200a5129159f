"""Paths that a user gives: `~` means the same everywhere; and where caches lie."""

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from mlpkit.errors import ConfigError


def expand(path: str | Path) -> Path:
    """Return the path with the home folder in place of `~` or `~name` at its start.

    Shells leave `~` as it is behind `=` and in quotes. A file of that name is `./~`.

    Raises:
        ConfigError: that home folder is not known.
    """
    if not str(path).startswith("~"):
        return Path(path)
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        reason = str(error).rstrip(".")
        raise ConfigError(f"{path}: no path ({reason}); write the whole path") from None


def cache_folder() -> Path:
    """Return where mlpkit keeps what can be fetched or measured again.

    It is under XDG_CACHE_HOME, else ~/.cache, else, for a user without a home folder, in the folder of
    temporary files.

    Raises:
        ConfigError: XDG_CACHE_HOME is no path, or the folder there belongs to another user.
    """
    if named := os.environ.get("XDG_CACHE_HOME"):
        return expand(named) / "mlpkit"
    try:
        return Path.home() / ".cache" / "mlpkit"
    except RuntimeError:
        return _temporary_cache()


@cache
def _temporary_cache() -> Path:
    import tempfile

    from mlpkit.system.console import note
    from mlpkit.system.platform import user_id

    folder = Path(tempfile.gettempdir()) / f"mlpkit-{user_id()}"
    with suppress(OSError):  # where nothing can be kept, nothing is
        folder.mkdir(mode=0o700)
    with suppress(FileNotFoundError):
        if folder.is_symlink() or folder.lstat().st_uid != user_id():
            raise ConfigError(f"{folder}: belongs to another user; set XDG_CACHE_HOME to a folder of yours")
    note(f"no home folder: the cache is {folder}; XDG_CACHE_HOME names another")
    return folder
