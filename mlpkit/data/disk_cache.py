"""The cache of tables on the disk: each is written once, by one process."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlpkit.config.byte_size import in_bytes
from mlpkit.config.dataset import DatasetConfig
from mlpkit.data.disk_dataset import open_table, tables_folder, write_header
from mlpkit.data.disk_table import FORMAT, HEADER, DiskTable, Header
from mlpkit.errors import DataError, WriteError
from mlpkit.system.atomic_write import sync_folder
from mlpkit.system.console import note
from mlpkit.system.failed_write import failed_write
from mlpkit.system.free_memory import free_memory
from mlpkit.system.lock import is_held, locked

PARTIAL, LOCK = ".partial", ".lock"  # endings of a folder that is being written, and of its lock


def memory_of(wanted: int | str | None) -> int:
    """Return `dataset.memory` in bytes; None is half of the free memory."""
    return free_memory() // 2 if wanted is None else in_bytes(wanted)


def cached_table(key: str, memory: int, write: Callable[[Path], Header]) -> DiskTable:
    """Return a table from the cache; write it first if it is not there.

    Args:
        key: of the table; see `key_of`.
        memory: `dataset.memory` in bytes.
        write: writes all files but the header into an empty folder, and returns the header.

    Raises:
        DataError: the source cannot be used, or the cached table is damaged.
        WriteError: it cannot be written.
    """
    folder = tables_folder() / key
    if not is_cached(key):
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise failed_write(folder.parent, error) from None
        waiting = f"{folder}: another process writes this table; waiting for it"
        with locked(folder.with_name(key + LOCK), lambda: note(waiting)):
            if not is_cached(key):  # nor has another process written it meanwhile
                _write(folder, write)
    return open_table(folder, memory)


@dataclass(frozen=True)
class CachedTable:
    """A table in the cache, or what is left of one.

    Attributes:
        path: its folder.
        title: the file that it was made from.
        size: in bytes.
    """

    path: Path
    title: str
    size: int


def cached_tables() -> list[CachedTable]:
    """Return the tables in the cache, but for those that a process is writing."""
    found, folder = list[CachedTable](), tables_folder()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and not is_held(folder / (path.name.removesuffix(PARTIAL) + LOCK)):
            size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
            try:
                title = Path(open_table(path, 0).header.sources[0].partition(": ")[0]).name
            except DataError:
                title = "unfinished"
            found.append(CachedTable(path, title, size))
    return found


def remove_table(table: CachedTable) -> None:
    """Remove a table from the cache; runs that train on it go on, except on Windows, where it is kept.

    Raises:
        WriteError: it cannot be removed.
    """
    try:
        (table.path / HEADER).unlink(missing_ok=True)  # first, so that no process takes half a table
        shutil.rmtree(table.path)
    except OSError as error:
        raise failed_write(error.filename or table.path, error, "cannot be removed") from None


def is_cached(key: str) -> bool:
    """Whether the cache has a table."""
    return (tables_folder() / key / HEADER).exists()


def key_of(config: DatasetConfig, paths: Sequence[Path], more: str = "") -> str:
    """Return the key of a dataset's table: a hash of its config, and of the sizes and times of its files.

    Args:
        config: of the dataset; how much memory it may take does not count.
        paths: its files.
        more: what else the rows depend on.
    """
    about = [str(FORMAT), config.name, repr(config.model_copy(update={"memory": None})), more]
    for path in paths:
        stat = path.stat()
        about.append(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.blake2b("\n".join(about).encode(errors="surrogateescape"), digest_size=16).hexdigest()


def check_room(folder: Path, size: int) -> None:
    """Check that a table fits on the disk.

    Raises:
        WriteError: it does not.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise WriteError(
            f"{folder}: the table needs {size / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free; free some "
            "space, or set XDG_CACHE_HOME to a folder on a larger disk"
        )


def _write(folder: Path, write: Callable[[Path], Header]) -> None:
    partial = folder.with_name(folder.name + PARTIAL)
    try:
        for left in (partial, folder):  # of a process that was killed, also while it removed the table
            if left.exists():
                shutil.rmtree(left)
        partial.mkdir(parents=True)
        try:
            write_header(partial, write(partial))
            sync_folder(partial)
            partial.rename(folder)
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise failed_write(error.filename or folder, error) from None
