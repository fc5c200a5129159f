"""Reads parquet and arrow files, and converts column types to the few that mlpkit uses."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow
import pyarrow.compute as pc
import pyarrow.feather
import pyarrow.parquet
from pyarrow import types

from mlpkit.config.problems import spell
from mlpkit.data.table_text import FREE_EXPANSION, MAX_EXPANSION, open_file, what_begins
from mlpkit.errors import DataError

COLUMN_BUFFER = 1 << 18  # bytes of a column that are read at once

_STREAM = b"\xff\xff\xff\xff"  # the first bytes of an Arrow stream
_PANDAS_INDEX = re.compile(r"__index_level_[0-9]+__")


def read_parquet(path: Path) -> pyarrow.Table:
    """Return the columns of a parquet file, without the index that pandas adds.

    Raises:
        DataError: its header declares far more values than a file of its size can hold.
        pyarrow.ArrowException: it is damaged; also OSError.
    """
    with _open_parquet(path) as file:
        return _drop_index(file.read())


def parquet_names(path: Path) -> list[str]:
    """Return the names of the columns of a parquet file, without the index that pandas adds.

    Raises:
        DataError, pyarrow.ArrowException, OSError: as in `read_parquet`.
    """
    with _open_parquet(path) as file:
        return _without_index(file.schema_arrow.names)


def read_parquet_portions(path: Path, rows: int, columns: Sequence[str]) -> Iterator[pyarrow.Table]:
    """Yield the rows of a parquet file in portions of at most so many rows, whatever its size.

    Args:
        path: the file.
        rows: the most rows of a portion.
        columns: the columns to read.

    Raises:
        DataError, pyarrow.ArrowException, OSError: as in `read_parquet`.
    """
    with _open_parquet(path) as file:
        for group in range(file.num_row_groups):  # over several at once pyarrow keeps what it has read
            for batch in file.iter_batches(rows, row_groups=[group], columns=list(columns)):
                yield pyarrow.Table.from_batches([batch])


@contextmanager
def _open_parquet(path: Path) -> Iterator[pyarrow.parquet.ParquetFile]:
    """Open a parquet file, and check its header; its columns are read through small buffers."""
    with open_file(path) as source:
        start = source.read(6)
        source.seek(0)
        if start and not start.startswith((b"PAR1", b"PARE")):  # PARE: with an encrypted footer
            raise _of_another_kind(path, start, "a parquet")
        with pyarrow.parquet.ParquetFile(
            source, page_checksum_verification=True, buffer_size=COLUMN_BUFFER
        ) as file:
            values = file.metadata.num_rows * file.metadata.num_columns
            if values * 8 > path.stat().st_size * MAX_EXPANSION + FREE_EXPANSION:
                raise DataError(
                    f"{path}: its header declares {values} values, too many for its size; if that is right, "
                    "save it as .csv"
                )
            yield file


def read_arrow(path: Path) -> pyarrow.Table:
    """Return the columns of an arrow or feather file, which may also be an arrow stream.

    Raises:
        DataError: it is not an Arrow file.
        pyarrow.ArrowException: it is damaged; also OSError.
    """
    with _open_arrow(path) as (schema, batches):
        return _drop_index(pyarrow.Table.from_batches(batches, schema))


def arrow_names(path: Path) -> list[str]:
    """Return the names of the columns of an arrow or feather file, without the index that pandas adds.

    Raises:
        DataError, pyarrow.ArrowException, OSError: as in `read_arrow`.
    """
    with _open_arrow(path) as (schema, _):
        return _without_index(schema.names)


def read_arrow_portions(path: Path, columns: Sequence[str]) -> Iterator[pyarrow.Table]:
    """Yield the rows of an arrow or feather file by its record batches, each of which must fit into memory.

    Args:
        path: the file.
        columns: the columns to read, in their order in the file.

    Raises:
        DataError, pyarrow.ArrowException, OSError: as in `read_arrow`.
    """
    with _open_arrow(path) as (schema, _):
        places = [schema.names.index(name) for name in columns]
    with _open_arrow(path, places) as (_, batches):
        for batch in batches:
            yield pyarrow.Table.from_batches([batch])


@contextmanager
def _open_arrow(
    path: Path, columns: Sequence[int] | None = None
) -> Iterator[tuple[pyarrow.Schema, Iterator[pyarrow.RecordBatch]]]:
    """Open an arrow or feather file or stream; give the schema and the batches of all or some columns.

    Raises:
        DataError: it is not an Arrow file.
        pyarrow.ArrowException: it is damaged; also OSError.
    """
    options = pyarrow.ipc.IpcReadOptions(included_fields=columns)
    with open_file(path) as file:
        start = file.read(6)
        file.seek(0)
        if start.startswith(b"FEA1"):  # the old format, in one piece
            table = pyarrow.feather.read_table(file, columns, memory_map=False)
            yield table.schema, _checked(table.to_batches())
        elif start.startswith(b"ARROW1"):
            with pyarrow.ipc.open_file(file, options=options) as reader:
                yield reader.schema, _checked(map(reader.get_batch, range(reader.num_record_batches)))
        elif not start.startswith(_STREAM) and b"\0" not in start[:4]:  # no length, as old streams begin with
            raise _of_another_kind(path, start, "an Arrow")
        else:
            with pyarrow.ipc.open_stream(file, options=options) as reader:
                yield reader.schema, _checked(reader)


def _of_another_kind(path: Path, start: bytes, wanted: str) -> DataError:
    """Return the error for a file whose first bytes are not those of its name's kind."""
    return DataError(f"{path}: {what_begins(start) or f'not {wanted} file; a text is named .csv or .jsonl'}")


def _checked(batches: Iterable[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
    for batch in batches:
        batch.validate(full=True)  # pyarrow does not check arrow data while it reads them
        yield batch


def _drop_index(table: pyarrow.Table) -> pyarrow.Table:
    return table.select(
        [place for place, name in enumerate(table.column_names) if not _PANDAS_INDEX.fullmatch(name)]
    )


def _without_index(names: Sequence[str]) -> list[str]:
    return [name for name in names if not _PANDAS_INDEX.fullmatch(name)]


def normalize(table: pyarrow.Table, missing: Sequence[str], source: str) -> pyarrow.Table:
    """Convert each column to one of the types that `TableFile` lists.

    Strings are stripped. NaN and the strings in `missing` become null.

    Args:
        table: the table as it was read.
        missing: strings that stand for a missing value.
        source: the name of the table in errors.

    Raises:
        DataError: a column has nested or other unsupported types.
    """
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        columns.append(_clean(_convert_type(column, f"{source}: column {spell(name)}"), missing))
    return pyarrow.table(columns, names=table.column_names)


def _convert_type(column: pyarrow.ChunkedArray, location: str) -> pyarrow.ChunkedArray:
    kind = column.type
    if isinstance(kind, pyarrow.BaseExtensionType):
        return _convert_type(column.cast(kind.storage_type), location)
    if types.is_dictionary(kind):
        if types.is_string_view(kind.value_type):  # as polars writes categories; pyarrow cannot decode them
            column = _with_strings(column)
        return _convert_type(column.cast(column.type.value_type), location)
    if types.is_large_string(kind) or types.is_string_view(kind) or types.is_time(kind):
        return column.cast(pyarrow.string())
    if types.is_decimal(kind):
        return column.cast(pyarrow.float64())
    if types.is_float16(kind):
        return column.cast(pyarrow.float32())
    if types.is_date64(kind):
        return column.cast(pyarrow.date32())
    known = (types.is_integer, types.is_floating, types.is_boolean, types.is_date32, types.is_timestamp)
    if any(is_kind(kind) for is_kind in (*known, types.is_string, types.is_null)):
        return column
    raise DataError(
        f"{location}: has type {kind}; a column holds numbers, strings, dates or booleans: convert or "
        "remove it"
    )


def _with_strings(column: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray:
    """Return categories whose names are string views with names that are strings."""
    kind = pyarrow.dictionary(column.type.index_type, pyarrow.string(), column.type.ordered)
    chunks = [
        pyarrow.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.cast(pyarrow.string()))
        for chunk in column.chunks
    ]
    return pyarrow.chunked_array([chunk.cast(kind) for chunk in chunks], kind)


def _clean(column: pyarrow.ChunkedArray, missing: Sequence[str]) -> pyarrow.ChunkedArray:
    if types.is_floating(column.type):
        is_nan = pc.is_nan(column)
        return pc.if_else(is_nan, None, column) if pc.any(is_nan).as_py() else column
    if not types.is_string(column.type):
        return column
    trimmed = pc.utf8_trim_whitespace(column)
    is_missing = pc.is_in(trimmed, pyarrow.array(missing, pyarrow.string()))
    if not pc.any(is_missing).as_py():
        return trimmed
    return pc.if_else(is_missing, None, trimmed)
