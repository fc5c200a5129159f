"""Paths that the user gives: expansion of `~`, and names that do not exist; the cache folder."""

import difflib
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path

from mlpkit.errors import ConfigError

HERE = f"{os.curdir}{os.sep}"  # before a name that is relative to the working directory
MOST_NAMES = 10_000  # of a folder, compared with a name that is not in it


def expand(path: str | Path) -> Path:
    """Return the path with a leading `~` or `~name` replaced by the home folder.

    Shells do not replace `~` after `=` or in quotes. To name a file `~`, write `./~`.

    Raises:
        ConfigError: the home folder is unknown.
    """
    if not str(path).startswith("~"):
        return Path(path)
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        reason = str(error).rstrip(".")
        raise ConfigError(f"{path}: not a valid path ({reason}); write the whole path") from None


def no_such_file(path: Path) -> str:
    """Return that a file does not exist, and the name of a similar one beside it."""
    if path.is_symlink():
        return "a link that leads to no file; mend the link"
    names: list[str] = []
    with suppress(OSError):
        entries = islice(path.parent.iterdir(), MOST_NAMES)
        names = [entry.name for entry in entries if entry.name != path.name]  # a link in a circle is there
    near = near_name(path.name, names, 0.75)  # more than for other names: many files share an ending
    return f"no such file; {f'did you mean {path.with_name(near)}?' if near else 'check the path'}"


def near_name(given: str, known: Iterable[str], similarity: float = 0.6) -> str | None:
    """Return the known name that is most similar to a given one; None if none is similar enough.

    Args:
        given: the name.
        known: names that exist.
        similarity: the least ratio of `difflib.SequenceMatcher`, from 0 to 1.
    """
    return next(iter(difflib.get_close_matches(given, list(known), n=1, cutoff=similarity)), None)


def common_parent(folders: Sequence[str]) -> Path:
    """Return the folder that all of some folders are in, such as the sweep of its runs."""
    parts = [folder.rpartition(os.sep) for folder in folders]  # for a hundred thousand, far faster than Path
    parents = {head or separator or os.curdir for head, separator, _ in parts}
    is_plain = {"", os.curdir, os.pardir}.isdisjoint(name for _, _, name in parts)
    if not is_plain or any(os.pardir in Path(each).parts for each in parents):
        parents = {str(Path(folder).resolve().parent) for folder in folders}
    elif len({Path(each).is_absolute() for each in parents}) > 1:
        parents = set(map(os.path.abspath, parents))
    return Path(os.path.commonpath(parents))


def cache_folder() -> Path:
    """Return the folder for data that can be downloaded or measured again.

    It is in XDG_CACHE_HOME, else in ~/.cache; for a user without a home folder, in the temporary folder.

    Raises:
        ConfigError: XDG_CACHE_HOME cannot be expanded, or the temporary folder's one belongs to another user.
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
    with suppress(OSError):  # mlpkit works without a cache
        folder.mkdir(mode=0o700)
    with suppress(FileNotFoundError):
        if folder.is_symlink() or folder.lstat().st_uid != user_id():
            raise ConfigError(f"{folder}: belongs to another user; set XDG_CACHE_HOME to a folder of yours")
    note(f"no home folder: the cache is {folder}; XDG_CACHE_HOME names another")
    return folder
