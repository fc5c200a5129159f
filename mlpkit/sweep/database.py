"""SQLite files that may be foreign: any path names one, and no query runs what is in the file.

Not a library: Python's sqlite3 has the limits that a foreign file needs; mappers such as SQLAlchemy set none.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LARGEST = 1 << 20  # bytes of a value
PAUSE = 100_000  # instructions of SQLite's machine after which a signal is heard
MOST = 100  # pauses until a small file must have shown what it holds: less than a second
BYTES = 10_000  # of a larger one for which there may be another pause: several times what whole files take


def connect(path: Path, **options: Any) -> sqlite3.Connection:
    """Open a file, made where it is missing; options are those of `sqlite3.connect`."""
    # SQLite may take `file:x?y` for a URI, which an absolute path never is.
    connection: sqlite3.Connection = sqlite3.connect(path.absolute(), **options)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST)
    return connection


def schema(connection: sqlite3.Connection) -> list[str]:
    """Return the statements that made the tables and indices, without what spaces they have."""
    rows = connection.execute("SELECT type, sql FROM sqlite_master")
    # An index without a statement belongs to a table's PRIMARY KEY or UNIQUE.
    return sorted(" ".join(str(sql).split()) for kind, sql in rows if sql is not None or kind != "index")


def check(connection: sqlite3.Connection, path: Path, expected: Sequence[str], begun: bool = False) -> bool:
    """Return whether a file holds what it should: these tables and indices, whole, and nothing else.

    Views, triggers and generated columns would run what a foreign file holds, and pages that name each
    other in a circle are read without an end. Where neither is there, a query takes as long as the file is
    large.

    Args:
        connection: of the file.
        path: where it lies.
        expected: its schema, as `schema` returns it.
        begun: a part of the schema is enough, which a process has left that was killed.

    Raises:
        sqlite3.Error: the file cannot be read, or holds no end of things.
    """
    pauses = iter(range(MOST + path.stat().st_size // BYTES))
    connection.set_progress_handler(lambda: next(pauses, None) is None, PAUSE)
    try:
        found = schema(connection)
        if not (set(found) <= set(expected) if begun else found == list(expected)):
            return False
        return connection.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)]
    finally:
        connection.set_progress_handler(None, 0)
