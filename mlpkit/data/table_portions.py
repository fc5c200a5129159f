"""Reads a table in portions, so that it need not fit into memory; the rows are those of `read_table`."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pyarrow

from mlpkit.data.arrow_table import arrow_names, parquet_names, read_arrow_portions, read_parquet_portions
from mlpkit.data.column_values import Locate
from mlpkit.data.csv_portions import open_csv
from mlpkit.data.csv_table import find_line
from mlpkit.data.json_portions import open_jsonl
from mlpkit.data.table_file import (
    TableFile,
    checked,
    explained,
    kind_of,
    no_rows,
    read_table,
    refuse_repeated,
    text_format,
)
from mlpkit.data.table_format import ARROW, CODECS, LINES, PARQUET, TEXTS, TableFormat
from mlpkit.data.table_text import TableText, from_stdin
from mlpkit.system.paths import expand

ROWS = 1 << 16  # most rows of a portion

_PORTIONED = (*TEXTS, *LINES, *PARQUET, *ARROW)


@dataclass(frozen=True)
class OpenTable:
    """A table that was opened.

    Attributes:
        names: the names of its columns.
        format: the format of its text, complete; None if it is not delimited text.
        source: its name in errors.
        read: yields the rows in portions, with the columns that were wanted and perhaps others.
    """

    names: list[str]
    format: TableFormat | None
    source: str
    read: Callable[[], Iterator[TableFile]]


def open_table(
    source: str, given: TableFormat, missing: Sequence[str], wanted: Collection[str], rows: int = ROWS
) -> OpenTable:
    """Open a table, and check it. Parquet, Arrow, delimited text and JSON lines are not kept in memory.

    Text is read once here, to find the types of the columns, and once more with the rows. That of stdin stays
    in memory.

    Args:
        source: the file, or `-` for stdin.
        given: the format that the user gave for text; fields of None are inferred.
        missing: strings that stand for a missing value, besides the empty string.
        wanted: the columns to read; those that are not there are skipped.
        rows: the most rows of a portion.

    Raises:
        ConfigError: the format or encoding does not exist, or an extra is not installed.
        DataError: the table cannot be read.
    """
    path, missing = expand(source), ("", *missing)
    text = from_stdin() if source == "-" else TableText(str(path), path)
    name, kind = text.name, kind_of(text) if source == "-" else _kind(source)
    if kind not in _PORTIONED:
        return _whole(read_table([source], given, missing))
    read_as, locate = None, partial(_row, name)
    tables: Callable[[], Iterator[pyarrow.Table]]
    with explained(source):
        if kind in TEXTS:
            found = open_csv(text, text_format(given, kind), missing, wanted)
            names, tables, read_as = found.names, found.tables, found.reading.table_format
            locate = partial(_line, text, read_as)
        elif kind in LINES:
            lines = open_jsonl(text, wanted)
            names, tables = lines.names, lines.tables
        else:
            names = (parquet_names if kind in PARQUET else arrow_names)(path)
            columns = [column for column in names if column in wanted] or names[:1]
            if kind in PARQUET:
                tables = partial(read_parquet_portions, path, rows, columns)
            else:
                tables = partial(read_arrow_portions, path, columns)
    refuse_repeated(names, source)
    return OpenTable(names, read_as, name, lambda: _portions(tables(), read_as, name, locate, missing, rows))


def _portions(
    tables: Iterator[pyarrow.Table],
    read_as: TableFormat | None,
    name: str,
    locate: Locate,
    missing: Sequence[str],
    rows: int,
) -> Iterator[TableFile]:
    start = 0
    with explained(name):
        for table in tables:
            for first in range(0, table.num_rows, rows):
                part = table.slice(first, rows)
                places = ((part.num_rows, partial(_after, locate, start)),)
                yield checked(TableFile(part, read_as, name, places), missing, name)
                start += part.num_rows
    if not start:
        raise no_rows(name)


def _whole(file: TableFile) -> OpenTable:
    """Return a table that is in memory."""
    return OpenTable(file.names, file.format, file.source, partial(_parts, file))


def _parts(file: TableFile) -> Iterator[TableFile]:
    for start in range(0, file.table.num_rows, ROWS):
        part = file.table.slice(start, ROWS)
        yield replace(file, table=part, locations=((part.num_rows, partial(_after, file.locate, start)),))


def _after(locate: Locate, start: int, row: int) -> str:
    """Name a row of a portion that begins at a row of the table."""
    return locate(start + row)


def _row(name: str, row: int) -> str:
    return f"{name}: row {row + 1}"


def _line(text: TableText, read_as: TableFormat, row: int) -> str:
    return f"{text.name}:{find_line(text, read_as, row)}"


def _kind(source: str) -> str:
    """Return the ending of a file that can be read; "" for anything else, which `read_table` may refuse."""
    if "://" in source:
        return ""
    path = expand(source)
    if not path.is_file() or path.stat().st_size == 0:
        return ""
    kind = path.suffix.lower()
    return path.with_suffix("").suffix.lower() if kind in CODECS else kind
