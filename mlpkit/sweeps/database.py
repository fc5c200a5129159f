"""Opens and checks SQLite files that may be foreign, so that no query runs code stored in the file.

Python's own sqlite3 lets us limit what a foreign file can do; mappers such as SQLAlchemy set no limits.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LARGEST_VALUE = 1 << 20  # bytes of one value
CALLBACK_INSTRUCTIONS = 100_000  # SQLite instructions between two calls of the progress handler
# The check of a file may call the handler this often (less than a second), and once more per so many bytes:
# several times what an undamaged file takes.
MAX_CALLBACKS = 100
BYTES_PER_CALLBACK = 10_000


def connect(path: Path, **options: Any) -> sqlite3.Connection:
    """Open a database file, creating it if it does not exist; `options` go to `sqlite3.connect`."""
    # SQLite may read a relative path such as `file:x?y` as a URI.
    connection: sqlite3.Connection = sqlite3.connect(path.absolute(), **options)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_VALUE)
    return connection


def schema(connection: sqlite3.Connection) -> list[str]:
    """Return the CREATE statements of all tables and indices, sorted, with whitespace normalised."""
    rows = connection.execute("SELECT type, sql FROM sqlite_master")
    # SQLite makes the index of a PRIMARY KEY or UNIQUE itself: it has no statement.
    return sorted(" ".join(str(sql).split()) for kind, sql in rows if sql is not None or kind != "index")


def check(connection: sqlite3.Connection, path: Path, expected: Sequence[str], partial: bool = False) -> bool:
    """Return whether a file is undamaged and holds exactly these tables and indices.

    Views, triggers and generated columns would run code from a foreign file, and pages that point to each
    other in a cycle would be read forever. Without them, the time of a query is bounded by the file's size.

    Args:
        connection: an open connection to the file.
        path: the file.
        expected: the schema it must have, as `schema` returns it.
        partial: also accept a part of the schema, which a killed process may leave.

    Raises:
        sqlite3.Error: the file cannot be read, or the check takes too long.
    """
    callbacks = iter(range(MAX_CALLBACKS + path.stat().st_size // BYTES_PER_CALLBACK))
    connection.set_progress_handler(lambda: next(callbacks, None) is None, CALLBACK_INSTRUCTIONS)
    try:
        found = schema(connection)
        if not (set(found) <= set(expected) if partial else found == list(expected)):
            return False
        return connection.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)]
    finally:
        connection.set_progress_handler(None, 0)
