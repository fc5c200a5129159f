"""Raw rows for a trained model: read, matched by name, encoded as its training rows were."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlpkit.config.dataset import DatasetConfig
from mlpkit.config.problems import did_you_mean, show, spell
from mlpkit.data.arrow_table import plain
from mlpkit.data.column_values import RawColumn
from mlpkit.data.encode import Encoded, encode
from mlpkit.data.encoder import Linear, NumberColumn, TableEncoder
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.table_file import MISSING, TableFile, TableFormat, read_table
from mlpkit.data.table_options import TableOptions
from mlpkit.data.table_targets import encode_targets
from mlpkit.data.tables import some
from mlpkit.errors import ConfigError, DataError


@dataclass(frozen=True)
class RawInputs:
    """Rows of a table as a model reads them.

    Attributes:
        values: (rows, features) float32.
        targets: (rows, targets) float32, or (rows,) labels; None where they were not asked for.
        kept: the raw columns that were asked for, by name.
    """

    values: Tensor
    targets: Tensor | None = None
    kept: dict[str, list[Any]] = field(default_factory=dict)


def read_raw(
    source: str,
    input_schema: InputSchema,
    config: DatasetConfig,
    has_header: bool | None = None,
    keep: Sequence[str] = (),
    with_targets: bool = False,
    warn: Callable[[str], None] = lambda line: None,
) -> RawInputs:
    """Return the rows of a table; columns are matched by name, and those that nobody asks for are not read.

    Args:
        source: the file, or `-` for stdin.
        input_schema: what the model reads.
        config: of the dataset that the model was trained on: other files of it are written in the same way.
        has_header: whether the first line of a text holds names; None where that is to be found out.
        keep: columns that are returned as they are.
        with_targets: whether the rows are to be scored.
        warn: is told what is odd.

    Raises:
        ConfigError: a column to keep is not there.
        DataError: a column is missing, or a value cannot be used.
    """
    table_format = TableFormat()
    missing: tuple[str, ...] = MISSING
    if isinstance(config, TableOptions):
        table_format, missing = config.table_format(), config.missing_texts()
    if has_header is not None:
        table_format = replace(table_format, has_header=has_header)
    file = read_table([source], table_format, missing)
    table, names = file.table, file.table.column_names
    if len(table) == 0:
        raise DataError(f"{file.source}: no rows below the column names; add a line for each")
    if unknown := next((name for name in keep if name not in names), None):
        way = did_you_mean(unknown, names) or f"; it has {some(names)}"
        raise ConfigError(f"--keep={show(unknown)}: {file.source} has no such column{way}")
    targets, where = None, file.where
    if with_targets:
        rows = _rows_to_score(file, input_schema.targets, warn)
        table, where = table.take(rows), lambda row: file.where(int(rows[row]))
        columns = [RawColumn(name, table[name], file.source, where) for name in input_schema.targets]
        targets = torch.from_numpy(encode_targets(columns, input_schema, config.transform_of_targets()))
    encoded = encode(_encoder_of(input_schema), table, file.source, where)
    used = {*input_schema.columns, *input_schema.targets, *keep}
    if extra := [name for name in names if name not in used]:
        warn(f"{file.source}: not read: {some(extra)}")
    return RawInputs(_told(encoded, file.source, warn), targets, {name: _plain(table[name]) for name in keep})


def parse_raw(
    texts: Sequence[str], input_schema: InputSchema, warn: Callable[[str], None] = lambda line: None
) -> RawInputs:
    """Return the rows of `--values`, each a list of values in the order of the columns, or of NAME=VALUE.

    Raises:
        DataError: there are too few or too many, a name is unknown, or a value cannot be used.
    """
    columns = input_schema.columns
    rows = [_parse_row(text, columns) for text in texts]
    table = pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in columns})
    encoder = _encoder_of(input_schema)
    encoded = encode(
        encoder, plain(table, ("",), "--values"), "--values", lambda row: f"--values={spell(texts[row])}"
    )
    return RawInputs(_told(encoded, "--values", warn))


def _parse_row(text: str, columns: Sequence[str]) -> dict[str, str]:
    (cells,) = csv.reader([text.replace("\n", " ")]) if text else [[""]]
    pairs = [cell.partition("=") for cell in cells]
    where = f"--values={spell(text)}"
    if not all(sign and name.strip() in columns for name, sign, _ in pairs):
        named = [name.strip() for name, sign, _ in pairs if sign]
        if len(named) == len(cells):
            unknown = next(name for name in named if name not in columns)
            way = did_you_mean(unknown, columns) or f"; the model reads {some(columns)}"
            raise DataError(f"{where}: the model reads no column {spell(unknown)}{way}")
        if len(cells) != len(columns):
            raise DataError(f"{where}: {len(cells)} values, the model reads {len(columns)}: {some(columns)}")
        return dict(zip(columns, cells, strict=True))
    found = {name.strip(): value for name, _, value in pairs}
    if len(found) < len(pairs):
        raise DataError(f"{where}: a column stands twice; keep one of them")
    if absent := [name for name in columns if name not in found]:
        raise DataError(
            f"{where}: columns missing: {some(absent)}; an unknown value is left empty, as in NAME="
        )
    return found


def _rows_to_score(file: TableFile, targets: Sequence[str], warn: Callable[[str], None]) -> NDArray[np.int64]:
    """Return the rows that have all targets; as in training, the others are left out.

    Raises:
        DataError: there is no such row, or a target has no column.
    """
    names = file.table.column_names
    if absent := [name for name in targets if name not in names]:
        raise DataError(f"{file.source}: the target {some(absent)} is missing; it has {some(names)}")
    missing = [RawColumn(name, file.table[name], file.source, file.where).missing for name in targets]
    rows = np.flatnonzero(~np.logical_or.reduce(missing))
    if len(rows) == 0:
        raise DataError(f"{file.source}: no row has a value of the target {some(targets)}; fill it in")
    if left := len(file.table) - len(rows):
        warn(f"{file.source}: left out {left:,} rows without a value of the target")
    return rows


def _told(encoded: Encoded, source: str, warn: Callable[[str], None]) -> Tensor:
    """Tell what is odd about rows, and return them."""
    for odd in encoded.odd:
        warn(f"{source}: {odd}")
    return torch.from_numpy(encoded.values)


def _encoder_of(input_schema: InputSchema) -> TableEncoder:
    """Return the model's encoder; where it has none, one that takes each feature as it is."""
    if input_schema.encoder is not None:
        return input_schema.encoder
    return TableEncoder(tuple(NumberColumn(name, None, Linear()) for name in input_schema.features))


def _plain(column: pa.ChunkedArray) -> list[Any]:
    """Return a raw column's values as they are written: text for dates, nothing for what is missing."""
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.string())
    values = column.to_pylist()
    return ["" if value is None else value for value in values] if pa.types.is_string(column.type) else values
