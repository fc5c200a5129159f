"""Raw tables: what files hold, before anything is made of it."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from mlpkit.data.column_values import RawColumn, Where
from mlpkit.data.table_file import TableFile, TableFormat, common_format, describe_format, read_table
from mlpkit.data.table_splits import Rows
from mlpkit.data.tables import listed
from mlpkit.errors import DataError


@dataclass(frozen=True)
class RawTable:
    """A table as it was read.

    Attributes:
        table: its columns.
        source: how errors name it.
        where: how they name one of its rows, counted from 0.
        files: the rows of each split, where each has a file of its own.
        remarks: what was found out in reading it.
        format: how the text was read; None where it is none.
    """

    table: pa.Table
    source: str
    where: Where
    files: dict[str, Rows] | None = None
    remarks: tuple[str, ...] = ()
    format: TableFormat | None = None

    def columns(self, names: Sequence[str], rows: Rows | None = None) -> list[RawColumn]:
        """Return some columns, with all rows or some."""
        if rows is None:
            return [RawColumn(name, self.table[name], self.source, self.where) for name in names]
        return [
            RawColumn(name, self.table[name].take(rows), self.source, lambda row: self.where(int(rows[row])))
            for name in names
        ]


def read_files(
    files: Mapping[str, Sequence[str]], table_format: TableFormat, missing: Sequence[str]
) -> RawTable:
    """Return the table in some files; the one that was read last is kept while its files stay as they are.

    Args:
        files: of each split; of train alone, where one table is to be split.
        table_format: what is known of how they are written.
        missing: texts that mean that a value is missing.

    Raises:
        DataError: it cannot be read.
    """
    named = tuple((name, tuple(paths)) for name, paths in files.items())
    return _read(named, table_format, tuple(missing), tuple(_stamp(path) for _, of in named for path in of))


@lru_cache(maxsize=1)
def _read(
    named: tuple[tuple[str, tuple[str, ...]], ...],
    table_format: TableFormat,
    missing: tuple[str, ...],
    stamps: tuple[object, ...],
) -> RawTable:
    found = {name: read_table(paths, table_format, missing) for name, paths in named}
    formats = [f"{of.source}: {describe_format(of.format)}" for of in found.values() if of.format is not None]
    train = found["train"]
    if len(found) == 1:
        return RawTable(train.table, train.source, train.where, None, tuple(formats), train.format)
    for of in found.values():
        if set(of.table.column_names) != set(train.table.column_names):
            raise DataError(
                f"{of.source}: has the columns {listed(of.table.column_names)}, {train.source} has "
                f"{listed(train.table.column_names)}; give all files the same"
            )
    tables = [of.table.select(train.table.column_names) for of in found.values()]
    starts = np.cumsum([0, *(len(table) for table in tables)])
    try:
        joined = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{train.source}: its columns are of other types than in the other files ({reason})"
        ) from None
    rows = {name: np.arange(starts[i], starts[i + 1]) for i, name in enumerate(found)}
    locations = tuple(location for of in found.values() for location in of.locations)
    known = [of.format for of in found.values() if of.format is not None]
    file = TableFile(joined, common_format(known) if known else None, train.source, locations)
    return RawTable(joined, file.source, file.where, rows, tuple(formats), file.format)


def _stamp(path: str) -> object:
    """Return what changes when a file does; for stdin, its stream; of a glob, what is never the same."""
    if path == "-":
        return sys.stdin.buffer
    try:
        about = Path(path).stat()
    except OSError:
        return object()
    return about.st_mtime_ns, about.st_size, about.st_ino
