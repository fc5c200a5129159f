"""The index of runs: what was read from a run's files, for as long as they have not changed since.

It is a cache of the files and never the truth: it may be deleted at any time, and a damaged or locked one is
not used. It lies in the user's cache folder and not beside the runs: so it serves folders that are read-only,
and nobody believes an index that came with foreign runs.
"""

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from mlpkit.errors import ConfigError
from mlpkit.folders.run_folder import RunFolder
from mlpkit.system.paths import HERE, cache_folder
from mlpkit.version import __version__

NAME = "runs-1.sqlite"  # another number for another table
LEAST = 300  # runs read anew that are worth an index; fewer are read as fast as one is opened
BUSY = 0.5  # seconds to wait for another process that writes the index
FRESH = 2.0  # seconds; a file that changes twice within a tick of the clock may keep its stamp

_TABLE = """
CREATE TABLE IF NOT EXISTS runs (
    kind TEXT, path BLOB, stamp TEXT, content TEXT, shared BLOB, PRIMARY KEY (kind, path)
) WITHOUT ROWID
"""
_TABLE_OF_SHARED = "CREATE TABLE IF NOT EXISTS shared (hash BLOB PRIMARY KEY, content TEXT) WITHOUT ROWID"
_BELOW = (
    "SELECT path, stamp, content, shared FROM runs WHERE kind = ? AND (path = ? OR path > ? AND path < ?)"
)
_UNUSED = "DELETE FROM shared WHERE hash NOT IN (SELECT shared FROM runs WHERE shared IS NOT NULL)"
_RUN = RunFolder(Path())
Files = tuple[tuple[Path, ...], tuple[Path, ...]]
# What `mlpkit ls` and `mlpkit compare` read of a run, and what else if one of the first two is missing.
LISTED: Files = (_RUN.summary, _RUN.config, _RUN.labels), (_RUN.last,)
COMPARED: Files = (_RUN.summary, _RUN.last), (_RUN.config, _RUN.best)

Kept = TypeVar("Kept")
Row = tuple[str, str, bytes | None]  # stamp, content, and the hash of the shared content


class RunIndex:
    """The index of the runs below some folders; a block of `with` saves what was read in it."""

    def __init__(
        self, kind: str, files: Files, tops: Sequence[Path], parse: Callable[[str], Any] = json.loads
    ) -> None:
        """Read the index; without one, no run is known.

        Args:
            kind: what is kept of a run. Other versions of mlpkit keep it apart.
            files: all files of a run that it is read from: LISTED or COMPARED.
            tops: the folders below which runs are looked for.
            parse: parses shared content; raises ValueError if it is damaged.
        """
        self._kind, self._parse = f"{kind} {__version__}", parse
        self._files, self._others = ([f"{os.sep}{file}" for file in part] for part in files)
        # Two bases: a folder's name begins with the first and is kept with the second, the real path.
        bases = ((str(top).rstrip(os.sep), os.path.realpath(top).rstrip(os.sep)) for top in tops)
        self._bases = sorted(bases, key=lambda base: -len(base[0]))  # the base of a folder is the longest
        self._rows: dict[str, Row] = {}  # by the folder's name
        self._shared: dict[bytes, Any] = {}  # by its hash
        self._known: set[str] = set()  # runs that have not changed
        self._stamps: dict[str, str] = {}  # of runs that may be kept
        self._new: dict[bytes, Row] = {}  # by the real path
        self._new_shared: dict[bytes, str] = {}
        self._file = index_file(NAME)
        if self._file is not None and os.path.exists(self._file):  # noqa: PTH110  # never raises
            with not_damaged(self._file), closing(connect(self._file)) as connection:
                self._read(connection)

    def _read(self, connection: sqlite3.Connection) -> None:
        for given, real in self._bases:
            top = os.fsencode(real)
            begin, end = top + os.fsencode(os.sep), top + os.fsencode(chr(ord(os.sep) + 1))
            for path, *row in connection.execute(_BELOW, (self._kind, top, begin, end)):
                folder = given + os.fsdecode(path[len(top) :])
                self._rows[folder.removeprefix(HERE)] = tuple(row)
        for name in {shared for _, _, shared in self._rows.values() if shared is not None}:
            for (content,) in connection.execute("SELECT content FROM shared WHERE hash = ?", (name,)):
                with suppress(ValueError, TypeError, RecursionError):
                    self._shared[name] = self._parse(content)

    def is_known(self, folder: str) -> bool:
        """Whether a folder is a run whose files have not changed since it was kept."""
        stamps = [stamp_of(folder + name) for name in self._files]
        if not (stamps[0] and stamps[1]):
            stamps += [stamp_of(folder + name) for name in self._others]
        text, row = ";".join(stamps), self._rows.get(folder)
        if row is not None and row[0] == text:
            self._known.add(folder)
            return True
        if any(stamps) and are_old(stamps):
            self._stamps[folder] = text
        return False

    def find(self, folder: str, make: Callable[[str, str, Any], Kept]) -> Kept | None:
        """Return what `make` makes of a run that `is_known`; None if it cannot.

        Args:
            folder: the run.
            make: is given the run, its content as JSON text, and the shared content.
        """
        if folder not in self._known:
            return None
        stamp, content, shared = self._rows[folder]
        try:
            return make(folder, content, None if shared is None else self._shared[shared])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):  # of a damaged index
            self._known.remove(folder)
            self._stamps[folder] = stamp
            return None

    def keep(self, folder: str, content: Any, shared: Any = None) -> None:
        """Keep what was read of an ended run after `is_known`, unless it has just changed.

        Args:
            folder: the run.
            content: as JSON values.
            shared: further content, which is equal for many runs and stored once.
        """
        if folder not in self._stamps:
            return
        name = None
        if shared is not None:
            text = json.dumps(shared)
            name = hashlib.sha256(text.encode()).digest()[:8]
            self._new_shared[name] = text
        self._new[self._key(folder)] = self._stamps.pop(folder), json.dumps(content), name

    def _key(self, folder: str) -> bytes:
        for given, real in self._bases:
            if folder == given or folder.startswith(given + os.sep):
                return os.fsencode(f"{real}{folder[len(given) :]}")
        return os.fsencode(os.path.realpath(folder))

    def _save(self) -> None:
        gone = {self._key(folder) for folder in self._rows.keys() - self._known} - self._new.keys()
        if gone and len(self._bases) > 1:  # a run may have several names
            gone -= set(map(self._key, self._known))
        if self._file is None or (len(self._new) < (1 if self._rows else LEAST) and not gone):
            return
        with suppress(OSError), not_damaged(self._file):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with closing(connect(self._file)) as connection, connection:
                connection.execute(_TABLE)
                connection.execute(_TABLE_OF_SHARED)
                rows = ((self._kind, key, *row) for key, row in self._new.items())
                connection.executemany("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?)", rows)
                connection.executemany(
                    "INSERT OR REPLACE INTO shared VALUES (?, ?)", self._new_shared.items()
                )
                if gone:
                    rows_gone = ((self._kind, key) for key in gone)
                    connection.executemany("DELETE FROM runs WHERE kind = ? AND path = ?", rows_gone)
                    connection.execute(_UNUSED)

    def __enter__(self) -> Self:
        """Return the index."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Save what was read, unless the block was left by an error."""
        if error is None:
            self._save()


def index_file(name: str) -> Path | None:
    """Return the place of an index in the user's cache folder; None if there can be none."""
    with suppress(ConfigError, OSError):
        return cache_folder() / name
    return None


@contextmanager
def not_damaged(file: Path) -> Iterator[None]:
    """Go on without an index that cannot be used; remove a damaged one, so that it is made anew."""
    try:
        yield
    except sqlite3.OperationalError:  # locked by another process, a full disk, or no table yet
        pass
    except sqlite3.DatabaseError:
        with suppress(OSError):
            file.unlink()


def connect(file: Path) -> sqlite3.Connection:
    """Open an index; it is made if it is missing."""
    return sqlite3.connect(file.absolute(), timeout=BUSY)


def stamp_of(path: str) -> str:
    """Return the stamp of a file: it is another one after each change; empty for a missing file."""
    try:
        about = os.lstat(path)
    except OSError:
        return ""
    # The second time cannot be set back, as `cp -p` and `touch` do with the first.
    return f"{about.st_mtime_ns},{about.st_ctime_ns},{about.st_size},{about.st_ino}"


def are_old(stamps: Sequence[str]) -> bool:
    """Whether all files with these stamps have last changed so long ago that another change would show."""
    times = (time_ns for stamp in stamps if stamp for time_ns in stamp.split(",")[:2])
    return time.time() - max(map(int, times), default=0) / 1e9 > FRESH
