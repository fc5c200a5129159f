"""Raw tables: the columns of files, before they are encoded."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from mlpkit.data.column_values import Locate, RawColumn
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
        locate: names one of its rows, counted from 0, in errors, such as `houses.csv:17`.
        files: the rows of each split, if each split is a file of its own.
        remarks: lines that say how the files were read.
        format: the format of the text; None for files such as parquet.
    """

    table: pa.Table
    source: str
    locate: Locate
    files: dict[str, Rows] | None = None
    remarks: tuple[str, ...] = ()
    format: TableFormat | None = None

    def columns(self, names: Sequence[str], rows: Rows | None = None) -> list[RawColumn]:
        """Return columns by name, with all rows or with the given ones."""
        if rows is None:
            return [RawColumn(name, self.table[name], self.source, self.locate) for name in names]
        return [
            RawColumn(name, self.table[name].take(rows), self.source, lambda row: self.locate(int(rows[row])))
            for name in names
        ]


def read_files(
    files: Mapping[str, Sequence[str]], table_format: TableFormat, missing: Sequence[str]
) -> RawTable:
    """Read one table from several files. The last table stays in memory until one of its files changes.

    Args:
        files: the files of each split; only train if one table is to be split.
        table_format: the format of the files, as far as it is known.
        missing: strings that stand for a missing value.

    Raises:
        DataError: it cannot be read.
    """
    named = tuple((name, tuple(paths)) for name, paths in files.items())
    return _read(
        named, table_format, tuple(missing), tuple(_stamp(path) for _, paths in named for path in paths)
    )


@lru_cache(maxsize=1)
def _read(
    named: tuple[tuple[str, tuple[str, ...]], ...],
    table_format: TableFormat,
    missing: tuple[str, ...],
    stamps: tuple[object, ...],
) -> RawTable:
    files = {name: read_table(paths, table_format, missing) for name, paths in named}
    formats = [
        f"{file.source}: {describe_format(file.format)}" for file in files.values() if file.format is not None
    ]
    train = files["train"]
    if len(files) == 1:
        return RawTable(train.table, train.source, train.locate, None, tuple(formats), train.format)
    for file in files.values():
        if set(file.table.column_names) != set(train.table.column_names):
            raise DataError(
                f"{file.source}: the columns are {listed(file.table.column_names)}, those of "
                f"{train.source} are "
                f"{listed(train.table.column_names)}; all files need the same columns"
            )
    tables = [file.table.select(train.table.column_names) for file in files.values()]
    starts = np.cumsum([0, *(len(table) for table in tables)])
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{train.source}: its columns have other types than in the other files ({reason}); give each "
            "column one type"
        ) from None
    rows = {name: np.arange(starts[i], starts[i + 1]) for i, name in enumerate(files)}
    locations = tuple(location for file in files.values() for location in file.locations)
    known = [file.format for file in files.values() if file.format is not None]
    joined = TableFile(table, common_format(known) if known else None, train.source, locations)
    return RawTable(table, joined.source, joined.locate, rows, tuple(formats), joined.format)


def _stamp(path: str) -> object:
    """Return a value that changes when the file changes.

    For stdin it is the stream. A glob gets a new value each time, so its files are always read again.
    """
    if path == "-":
        return sys.stdin.buffer
    try:
        about = Path(path).stat()
    except OSError:
        return object()
    return about.st_mtime_ns, about.st_size, about.st_ino
