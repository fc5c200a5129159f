"""DataFrames of the Python API: columns that are not plain numbers are encoded, by their types."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

from mlpkit.config.problems import spell
from mlpkit.data.arrow_table import normalize
from mlpkit.data.column_values import RawColumn
from mlpkit.data.columns import ColumnKind
from mlpkit.data.encode import encode
from mlpkit.data.encoder import TableEncoder
from mlpkit.data.fit_encoder import fit_encoder
from mlpkit.errors import DataError

MISSING = ("",)  # the texts that stand for a missing value in a frame that is trained on


def read_frame(data: Any) -> pa.Table | None:
    """Return a DataFrame as an Arrow table; None if the data is not a DataFrame.

    Those of pandas, Polars and pyarrow are read, and all others with Arrow's PyCapsule interface.

    Raises:
        DataError: a column holds values of different types.
    """
    if not hasattr(data, "__arrow_c_stream__"):
        return None
    try:
        table = pa.table(data)
    except pa.ArrowException as error:
        raise DataError(f"X: {str(error).splitlines()[0]}; give each column one type") from None
    width = len(getattr(data, "columns", table.column_names))
    return table.select(range(width))  # pandas adds its index as the last columns


def is_numeric_frame(table: pa.Table) -> bool:
    """Whether all columns are numbers or booleans, without missing values."""
    return all(_is_plain(column.type) and not column.null_count for column in table.columns)


def fit_frame(table: pa.Table, missing: Sequence[str]) -> TableEncoder:
    """Fit an encoder of the columns. The type of a column decides its kind, and no column is left out.

    Numbers are standardised and a missing one is replaced by the median; strings and categories become one
    feature for each value; dates become year, month, weekday and days.

    Args:
        table: the frame.
        missing: texts that stand for a missing value.

    Raises:
        DataError: a column has a type that is not read, or a name that cannot be printed.
    """
    if bad := next((name for name in table.column_names if not name.isprintable()), None):
        raise DataError(f"X: column {spell(bad)}: its name cannot be printed on a line; rename it")
    kinds = [
        ColumnKind(name, _kind(column.type), "its type")
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    table = normalize(table, missing, "X")
    columns = [RawColumn(name, table[name], "X", _locate) for name in table.column_names]
    return fit_encoder(columns, kinds, {}, "standard")


def encode_frame(encoder: TableEncoder, table: pa.Table, missing: Sequence[str]) -> NDArray[np.float32]:
    """Return the features (rows, features); a category that was not seen in training is none of them.

    Raises:
        DataError: a value cannot be encoded.
    """
    return encode(encoder, normalize(table, missing, "X"), "X", _locate).values


def _kind(of: pa.DataType) -> str:
    if types.is_boolean(of):
        return "boolean"
    if types.is_date(of) or types.is_timestamp(of):
        return "date"
    return "number" if _is_plain(of) or types.is_null(of) or types.is_decimal(of) else "category"


def _is_plain(of: pa.DataType) -> bool:
    return bool(types.is_integer(of) or types.is_floating(of) or types.is_boolean(of))


def _locate(row: int) -> str:
    return f"X: row {row}"
