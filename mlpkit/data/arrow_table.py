"""Reads tables whose files know their types (parquet, arrow), and brings types to the few that there are."""

import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow
import pyarrow.compute as pc
import pyarrow.feather
import pyarrow.parquet
from pyarrow import types

from mlpkit.config.problems import spell
from mlpkit.data.table_text import FREE_EXPANSION, MAX_EXPANSION
from mlpkit.errors import DataError

_PANDAS_INDEX = re.compile(r"__index_level_[0-9]+__")


def read_parquet(path: Path) -> pyarrow.Table:
    """Return the columns of a parquet file, without the index that pandas adds.

    Raises:
        DataError: it says that it holds far more than a file of its size does.
        pyarrow.ArrowException: it is damaged; also OSError.
    """
    with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
        values = file.metadata.num_rows * file.metadata.num_columns
        if values * 8 > path.stat().st_size * MAX_EXPANSION + FREE_EXPANSION:
            raise DataError(
                f"{path}: says that it holds {values} values, too many for its size; if it does, "
                "write it as .csv"
            )
        return _without_index(file.read())


def read_arrow(path: Path) -> pyarrow.Table:
    """Return the columns of an arrow or feather file, which may also be an arrow stream.

    Raises:
        pyarrow.ArrowException: it is damaged; also OSError.
    """
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith((b"ARROW1", b"FEA1")):
        table = pyarrow.feather.read_table(path, memory_map=False)
    else:
        with pyarrow.OSFile(str(path)) as file, pyarrow.ipc.open_stream(file) as reader:
            table = reader.read_all()
    table.validate(full=True)  # it is read as it lies in the file: nothing has looked at it yet
    return _without_index(table)


def _without_index(table: pyarrow.Table) -> pyarrow.Table:
    return table.select(
        [place for place, name in enumerate(table.column_names) if not _PANDAS_INDEX.fullmatch(name)]
    )


def normalize(table: pyarrow.Table, missing: Sequence[str], source: str) -> pyarrow.Table:
    """Return the table with each column as one of the types that `TableFile` names.

    Blanks around texts go, texts that mean a missing value and NaN become null.

    Args:
        table: as a file holds it.
        missing: texts that mean that a value is missing.
        source: how errors name it.

    Raises:
        DataError: a column holds lists or the like.
    """
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        columns.append(_cleaned(_plain_type(column, f"{source}: column {spell(name)}"), missing))
    return pyarrow.table(columns, names=table.column_names)


def _plain_type(column: pyarrow.ChunkedArray, where: str) -> pyarrow.ChunkedArray:
    kind = column.type
    if isinstance(kind, pyarrow.BaseExtensionType):
        return _plain_type(column.cast(kind.storage_type), where)
    if types.is_dictionary(kind):
        return _plain_type(column.cast(kind.value_type), where)
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
        f"{where}: holds {kind}; a table holds numbers, texts, dates, true and false: convert or leave it out"
    )


def _cleaned(column: pyarrow.ChunkedArray, missing: Sequence[str]) -> pyarrow.ChunkedArray:
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
