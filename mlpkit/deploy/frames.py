"""Rows in memory, whatever library holds them, as the features that a model reads."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from mlpkit.config.problems import spell
from mlpkit.data.arrays import as_inputs
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.inputs import DEFAULT_OPTIONS, Inputs, as_pixels
from mlpkit.data.raw_inputs import encode_table
from mlpkit.data.tables import listed
from mlpkit.errors import DataError

SOURCE = "data"  # the name of the rows in errors


def features_of(
    data: Any, input_schema: InputSchema, missing: Sequence[str], warn: Callable[[str], None]
) -> Tensor:
    """Return rows as features (rows, features), encoded as in training.

    Args:
        data: with names of columns: a data frame (pandas, polars, or any with `__arrow_c_stream__`), an Arrow
            table, a dict of columns or a list of dicts; or without, in the model's order: an array, a tensor
            or a list of rows. Pictures may be (rows, height, width).
        input_schema: the model's input schema.
        missing: texts that stand for a missing value.
        warn: is called with each warning.

    Raises:
        DataError: the rows cannot be read, or a value cannot be used.
    """
    table = _by_name(data)
    if table is None:
        array = _array(data)
        if array.size == 0:
            raise DataError(f"{SOURCE}: no rows; give at least one")
        if input_schema.encoder is None:
            found = Inputs(as_inputs(array, SOURCE, input_schema, None))
            return as_pixels(found, SOURCE, input_schema, DEFAULT_OPTIONS, warn).values
        table = _by_place(array, input_schema.columns)
    names = table.column_names
    if twice := next((name for name in input_schema.columns if names.count(name) > 1), None):
        raise DataError(
            f"{SOURCE}: column {spell(twice)} is there {names.count(twice)} times; keep one of them"
        )
    if len(table) == 0:
        raise DataError(f"{SOURCE}: no rows; give at least one")
    return encode_table(table, input_schema, missing, SOURCE, lambda row: f"{SOURCE}: row {row + 1}", warn)


def _by_name(data: Any) -> pa.Table | None:
    """Return data that names its columns as an Arrow table; None if it does not."""
    try:
        if isinstance(data, pa.Table):
            return data
        if hasattr(data, "__arrow_c_stream__"):
            return pa.table(data)
        if isinstance(data, Mapping):
            return pa.table({str(name): _column(values) for name, values in data.items()})
        if isinstance(data, Sequence) and data and all(isinstance(row, Mapping) for row in data):
            names = dict.fromkeys(name for row in data for name in row)
            return pa.table({str(name): _column([row.get(name) for row in data]) for name in names})
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise _unreadable(error) from None
    return None


def _array(data: Any) -> "np.ndarray[Any, Any]":
    if isinstance(data, str | bytes | os.PathLike):
        raise DataError(
            f"{SOURCE}: is {type(data).__name__}, not rows; read the file first, such as with pandas.read_csv"
        )
    if hasattr(data, "detach"):  # a tensor
        data = data.detach().cpu()
    try:
        array = np.asarray(data)
        if array.dtype.kind == "U" and not isinstance(data, np.ndarray):
            array = np.asarray(data, object)  # numbers beside texts stay numbers, and NaN stays missing
        return array
    except (TypeError, ValueError) as error:  # rows of several lengths
        raise _unreadable(error) from None


def _by_place(array: "np.ndarray[Any, Any]", columns: Sequence[str]) -> pa.Table:
    if array.ndim != 2 or array.shape[1] != len(columns):
        raise DataError(
            f"{SOURCE}: has shape {array.shape}, the model reads {len(columns)} columns: {listed(columns)}; "
            "give an array (rows, columns), or name the columns"
        )
    try:
        return pa.table({name: _column(array[:, place]) for place, name in enumerate(columns)})
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise _unreadable(error) from None


def _column(values: Any) -> pa.Array:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    is_mixed = isinstance(values, np.ndarray) and values.dtype.hasobject
    return pa.array(
        values.tolist() if is_mixed else values, from_pandas=True
    )  # NaN is missing, also in texts


def _unreadable(error: Exception) -> DataError:
    reason = " ".join(str(error).split(". ")[0].split())
    return DataError(
        f"{SOURCE}: not readable as rows ({reason[:160]}); give a data frame, an array (rows, columns) or a "
        "dict of columns"
    )
