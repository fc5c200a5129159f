"""Reads rows to predict from csv, json, jsonl, npy and npz, matched to the model's columns by name."""

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from mlpkit.data.dataset import Signature
from mlpkit.errors import DataError

# float() also reads 1_000, full-width digits, nan and infinity, none of which belong in a data file.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LARGEST = 3.4028234663852886e38  # of float32


def read_text(text: str, source: str, kind: str, signature: Signature) -> Tensor:
    """Return the inputs (rows, features) in a text.

    Args:
        text: the content.
        source: how errors name it.
        kind: csv, json or jsonl.
        signature: the model's columns.

    Raises:
        DataError: a column or a value is missing, extra or no finite number.
    """
    if "\0" in text:
        raise DataError(f"{source}: holds a NUL byte; it is no text file")
    if kind == "csv":
        header, rows, first_line = _parse_csv(text, source, signature)
    else:
        header, rows, first_line = _parse_json(text, source, kind, signature)
    columns = _match(header, signature, source)
    values = [
        [
            _number(row[column], source, first_line + index, signature.features[i])
            for i, column in enumerate(columns)
        ]
        for index, row in enumerate(rows)
    ]
    if not values:
        raise DataError(f"{source}: no rows below the header" if kind == "csv" else f"{source}: no rows")
    return torch.tensor(values, dtype=torch.float32)


def read_arrays(path: Path, signature: Signature) -> Tensor:
    """Return the inputs (rows, features) in a .npy or .npz file.

    A .npz holds either an array `inputs` (or one array of any name) or an array for each column.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = (
            {"": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
        )
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise DataError(f"{path}: not a numpy file of numbers ({str(error)[:80]})") from None
    if len(arrays) > 1 and "inputs" not in arrays:
        columns = _match(list(arrays), signature, str(path))
        ordered = list(arrays.values())
        if len({array.shape for array in ordered}) > 1 or ordered[0].ndim != 1:
            raise DataError(f"{path}: its columns must be arrays of one dimension and one length")
        return _as_inputs(np.stack([ordered[column] for column in columns], axis=1), str(path), signature)
    return _as_inputs(arrays.get("inputs", next(iter(arrays.values()))), str(path), signature)


def _as_inputs(array: Any, source: str, signature: Signature) -> Tensor:
    features, shape = len(signature.features), signature.input_shape
    if array.dtype.kind not in "fiu":
        raise DataError(f"{source}: holds {array.dtype}, not numbers")
    if array.shape == shape or (array.ndim == 1 and features == 1 and array.shape != (1,)):
        array = array.reshape(-1, features)
    if array.ndim < 2 or math.prod(array.shape[1:]) != features:
        wanted = f"(rows, {features})" + (f" or (rows, {shape[0]}, {shape[1]})" if signature.is_image else "")
        raise DataError(f"{source}: has shape {tuple(array.shape)}, the model reads {wanted}")
    if len(array) == 0:
        raise DataError(f"{source}: no rows")
    # Bytes are pixels as image files store them; the model's are numbers from 0 to 1.
    scale = 255.0 if signature.is_image and array.dtype == np.uint8 else 1.0
    values = array.reshape(len(array), features).astype(np.float64) / scale
    bad = np.argwhere(~(np.abs(values) <= _LARGEST))
    if len(bad):
        row, column = bad[0]
        name = signature.features[column]
        raise DataError(
            f"{source}: row {row + 1}, column {name}: {values[row, column]} is not a finite float32"
        )
    return torch.from_numpy(values).float()


def _parse_csv(text: str, source: str, signature: Signature) -> tuple[list[str], list[Any], int]:
    """Return header, rows and the number of the first row's line; numbers alone mean no header."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    try:
        lines = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise DataError(f"{source}:{reader.line_num}: not a csv line ({error})") from None
    if not lines:
        raise DataError(
            f"{source}: empty; write a line of column names ({_some(signature.features)}) and the rows"
        )
    header = [cell.strip() for cell in lines[0][1]]
    first_line = 2
    if all(_NUMBER.fullmatch(cell) for cell in header):
        if len(header) != len(signature.features):
            raise DataError(
                f"{source}: {len(header)} columns without names; the model reads {_some(signature.features)}"
            )
        header, first_line = list(signature.features), 1
    else:
        lines = lines[1:]
    for number, row in lines:
        if len(row) != len(header):
            raise DataError(f"{source}:{number}: {len(row)} values for {len(header)} columns")
    return header, [row for _, row in lines], first_line


def _parse_json(text: str, source: str, kind: str, signature: Signature) -> tuple[list[str], list[Any], int]:
    try:
        if kind == "jsonl":
            records = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            records = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source}: not valid {kind} ({str(error)[:80]})") from None
    if (
        isinstance(records, Mapping)
        and records
        and all(isinstance(column, list) for column in records.values())
    ):
        lengths = {len(column) for column in records.values()}
        if len(lengths) > 1:
            raise DataError(f"{source}: its columns have different lengths")
        return list(records), list(zip(*records.values(), strict=True)), 1
    if isinstance(records, Mapping):
        records = [records]
    if not isinstance(records, list) or not records:
        raise DataError(f"{source}: no rows; write a list of objects such as {_example(signature)}")
    header = list(records[0]) if isinstance(records[0], Mapping) else list(signature.features)
    rows = []
    for number, record in enumerate(records, 1):
        if isinstance(record, Mapping):
            if set(record) != set(header):
                raise DataError(
                    f"{source}: row {number} has the keys {_some(record)}, the first {_some(header)}"
                )
            rows.append([record[name] for name in header])
        elif isinstance(record, list) and len(record) == len(signature.features):
            rows.append(record)
        else:
            raise DataError(f"{source}: row {number} is not like {_example(signature)}")
    return header, rows, 1


def _match(header: Sequence[str], signature: Signature, source: str) -> list[int]:
    """Return the place of each of the model's columns; the target column may be there, and is not read."""
    repeated = [name for i, name in enumerate(header) if name in header[:i]]
    if repeated:
        raise DataError(f"{source}: the column {repeated[0]!r} stands twice")
    missing = [name for name in signature.features if name not in header]
    extra = [name for name in header if name not in signature.features and name not in signature.targets]
    if missing:
        raise DataError(
            f"{source}: the column {_some(missing)} is missing; it has {_some(header)}, "
            f"the model reads {_some(signature.features)}"
        )
    if extra:
        raise DataError(
            f"{source}: the column {_some(extra)} is not one that the model reads "
            f"({_some(signature.features)}); remove it"
        )
    return [list(header).index(name) for name in signature.features]


def _number(value: object, source: str, line: int, column: str) -> float:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        number = float(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value) if abs(value) <= _LARGEST or value != value else math.inf
    elif value is None or value == "":
        raise DataError(f"{source}:{line}: column {column}: no value; fill it in or remove the row")
    else:
        raise DataError(f"{source}:{line}: column {column}: {str(value)[:40]!r} is not a number")
    if not abs(number) <= _LARGEST:
        raise DataError(f"{source}:{line}: column {column}: {str(value)[:40]} is not a finite float32")
    return number


def _some(names: Sequence[str] | Mapping[str, Any]) -> str:
    shown = [str(name) for name in names]
    return ", ".join(shown if len(shown) <= 8 else [*shown[:3], "…", shown[-1]])


def _example(signature: Signature) -> str:
    names = signature.features[:2]
    return (
        "{"
        + ", ".join(f'"{name}": 0.5' for name in names)
        + (", …" if len(signature.features) > 2 else "")
        + "}"
    )
