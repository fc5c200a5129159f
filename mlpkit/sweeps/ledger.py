"""The ledger of a sweep: a SQLite file with its jobs and the status of each.

One table in Python's own sqlite3 needs no mapper, and a job-queue library would need a server.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mlpkit.config.config import Config, SharedSections, parse, to_dict
from mlpkit.config.problems import show
from mlpkit.errors import ConfigError, DataError, WriteError
from mlpkit.folders.sweep_folder import is_run_name, run_name, unfinished
from mlpkit.sweeps import database
from mlpkit.sweeps.grid import Job
from mlpkit.system.atomic_write import sync_folder
from mlpkit.system.failed_write import failed_write

WAITING, DONE, FAILED, PRUNED = "waiting", "done", "failed", "pruned"

_TABLE = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    folder TEXT NOT NULL,
    overrides TEXT NOT NULL,
    config TEXT NOT NULL,
    status TEXT NOT NULL,
    error TEXT NOT NULL
)
"""

_MARK = "UPDATE jobs SET status = ?, error = ? WHERE number = ?"


@dataclass(frozen=True)
class JobRecord:
    """A job in the ledger.

    Attributes:
        number: its place in the sweep, from 0.
        folder: name of its run folder.
        overrides: the swept overrides that distinguish it.
        config: its whole config.
        status: waiting, done, failed or pruned.
        error: the error of a failed job; else empty.
    """

    number: int
    folder: str
    overrides: tuple[str, ...]
    config: Config
    status: str
    error: str


def config_key(config: Config) -> str:
    """Return a SHA-256 over a config without its `run` section, which does not change what is trained."""
    settings: Mapping[str, Any] = {name: part for name, part in to_dict(config).items() if name != "run"}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def write_ledger(path: Path, jobs: Sequence[Job]) -> None:
    """Write the ledger of a new sweep, whole or not at all.

    Raises:
        WriteError: it cannot be written; all its files have been removed.
    """
    temporary, *others = unfinished(path)
    try:
        for file in (temporary, *others):
            file.unlink(missing_ok=True)
        with Ledger(temporary) as ledger:
            ledger.add(jobs)
        temporary.replace(path)
        sync_folder(path.parent)
    except (OSError, WriteError) as error:
        for file in (temporary, *others):
            with suppress(OSError):
                file.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise failed_write(path, error) from None
        raise WriteError(f"{path}: {str(error).partition(': ')[2]}") from None


class Ledger:
    """An open ledger; each change is on the disk when the call returns."""

    def __init__(self, path: Path) -> None:
        """Open the file, creating it if it does not exist.

        Raises:
            DataError: the file is not a ledger.
            WriteError: it cannot be written.
        """
        self.path = path
        try:
            with ExitStack() as on_error:
                new = not path.exists()
                self._connection = on_error.enter_context(
                    closing(database.connect(path, isolation_level=None))
                )
                if new:
                    self._connection.execute(_TABLE)
                if not database.check(self._connection, path, [" ".join(_TABLE.split())]):
                    raise DataError(f"{path}: not a ledger of mlpkit, or one of another version; sweep anew")
                on_error.pop_all()
        except sqlite3.OperationalError as error:
            raise failed_write(path, error) from None
        except sqlite3.Error as error:
            raise DataError(
                f"{path}: damaged, or not a ledger of mlpkit ({error}); "
                "resume the runs one by one, or sweep anew"
            ) from None

    def add(self, jobs: Sequence[Job], first: int = 0) -> None:
        """Add jobs, numbered from `first`; a job whose config is already there is ignored."""
        rows = []
        for number, job in enumerate(jobs, first):
            key = config_key(job.config)
            config = json.dumps(to_dict(job.config))
            rows.append((number, key, run_name(number, key), json.dumps(job.overrides), config, WAITING, ""))
        self._write("INSERT OR IGNORE INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def mark(self, numbers: Iterable[int], status: str, error: str = "") -> None:
        """Set the status of some jobs."""
        rows = [(status, error, number) for number in numbers]
        self._write(_MARK, rows)

    def mark_failed(self, reasons: Mapping[int, str]) -> None:
        """Mark jobs as failed.

        Args:
            reasons: the error of each failed job, by its number.
        """
        rows = [(FAILED, reason, number) for number, reason in reasons.items()]
        self._write(_MARK, rows)

    def entries(self) -> list[JobRecord]:
        """Return all jobs in the order of the sweep.

        Raises:
            DataError: a job cannot be read.
        """
        jobs, shared = [], SharedSections()
        columns = "number, folder, overrides, config, status, error"
        try:
            for number, folder, overrides, config, status, error in self._connection.execute(
                f"SELECT {columns} FROM jobs ORDER BY number"
            ):
                parsed, lines = shared.of(parse(json.loads(config))), json.loads(overrides)
                if not all(isinstance(text, str) for text in (folder, status, error, *lines)):
                    raise ValueError(f"job {number} is not text")
                if not is_run_name(folder):
                    raise ValueError(f"{show(folder)} is not the name of a run folder")
                jobs.append(JobRecord(number, folder, tuple(lines), parsed, status, error))
        except ConfigError as error:
            raise DataError(f"{self.path}: a config in it is not valid: {error.args[0]}") from None
        except (sqlite3.Error, ValueError, TypeError, RecursionError) as error:
            raise DataError(f"{self.path}: cannot be read ({error}); sweep anew") from None
        return jobs

    def _write(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        try:
            self._connection.execute("BEGIN")
            self._connection.executemany(statement, rows)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise failed_write(self.path, error) from None

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        """Return the open ledger."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()
