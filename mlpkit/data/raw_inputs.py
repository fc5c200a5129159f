"""Reads raw rows for a trained model: matches columns by name and encodes them as in training."""

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
from mlpkit.config.problems import did_you_mean, plural, show, spell
from mlpkit.data.arrow_table import normalize
from mlpkit.data.column_values import Locate, RawColumn
from mlpkit.data.encode import ColumnIssues, Encoded, encode
from mlpkit.data.encoder import Linear, NumberColumn, TableEncoder
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.inputs import DEFAULT_OPTIONS, Inputs, ReadOptions, as_pixels
from mlpkit.data.table_file import MISSING, TableFile, TableFormat, read_table
from mlpkit.data.table_format import FOUND_ENCODINGS, describe_difference
from mlpkit.data.table_options import TableOptions
from mlpkit.data.table_targets import describe_left_out, encode_targets
from mlpkit.data.table_text import TableText
from mlpkit.data.table_weights import read_weights
from mlpkit.data.tables import listed
from mlpkit.errors import ConfigError, DataError


@dataclass(frozen=True)
class RawInputs:
    """Encoded rows of a table.

    Attributes:
        values: (rows, features) float32.
        targets: (rows, targets) float32, or (rows,) labels; None if they were not requested.
        weights: (rows,) float32, if targets were requested and the dataset has weights; else None.
        kept: raw columns to copy to the output, by name.
        issues: the columns with missing or unseen values.
    """

    values: Tensor
    targets: Tensor | None = None
    weights: Tensor | None = None
    kept: dict[str, list[Any]] = field(default_factory=dict)
    issues: tuple[ColumnIssues, ...] = ()


def read_raw(
    source: str | TableText,
    input_schema: InputSchema,
    config: DatasetConfig,
    options: ReadOptions = DEFAULT_OPTIONS,
    keep: Sequence[str] = (),
    with_targets: bool = False,
    warn: Callable[[str], None] = lambda line: None,
) -> RawInputs:
    """Read and encode the rows of a table. Columns are matched by name; other columns are ignored.

    Args:
        source: the file, `-` for stdin, or a text in memory.
        input_schema: the model's input schema.
        config: the config of the dataset that the model was trained on; its text format is tried first.
        options: the user's options.
        keep: raw columns to return unchanged.
        with_targets: whether to read the targets, for scoring.
        warn: is called with each warning.

    Raises:
        ConfigError: a column to keep does not exist.
        DataError: a column is missing, or a value cannot be used.
    """
    wanted = (*input_schema.columns, *(input_schema.targets if with_targets else ()))
    file = read_as_in_training(source, config, options.has_header, wanted, warn)
    table, names = file.table, file.table.column_names
    if len(table) == 0:
        raise DataError(f"{file.source}: no rows below the column names; add a line for each")
    targets, weights, locate, weight = None, None, file.locate, config.weight_name()
    if with_targets:
        rows = _rows_to_score(file, input_schema.targets, warn)
        if len(rows) < len(table):
            table, locate = table.take(rows), lambda row: file.locate(int(rows[row]))
        columns = [RawColumn(name, table[name], file.source, locate) for name in input_schema.targets]
        targets = torch.from_numpy(encode_targets(columns, input_schema, config.transform_of_targets()))
        if weight in names:
            column = RawColumn(str(weight), table[weight], file.source, locate)
            weights = torch.from_numpy(read_weights(column))
        elif weight is not None:
            warn(f"{file.source}: no column {spell(weight)}, so all rows count the same in the loss")
    warn_of_unread(file, input_schema, (*keep, weight), warn)
    found = encode_rows(replace(file, table=table), locate, input_schema, options, keep, warn)
    for issues in found.issues:
        warn(f"{file.source}: {issues}")
    return replace(found, targets=targets, weights=weights)


def encode_rows(
    file: TableFile,
    locate: Locate,
    input_schema: InputSchema,
    options: ReadOptions,
    keep: Sequence[str],
    warn: Callable[[str], None],
) -> RawInputs:
    """Encode the rows of a table, without targets; missing and unseen values are counted, not warned of.

    Args:
        file: the table.
        locate: names one of its rows in errors.
        input_schema, options, keep, warn: see `read_raw`.
    """
    kept = keep_columns(file.table, keep, file.source)
    encoded = encode(_encoder_of(input_schema), file.table, file.source, locate)
    values = torch.from_numpy(encoded.values)
    if options.max_pixel is not None:
        values = values / options.max_pixel
    values = as_pixels(Inputs(values), file.source, input_schema, options, warn).values
    return RawInputs(values, kept=kept, issues=encoded.issues)


def warn_of_unread(
    file: TableFile, input_schema: InputSchema, used: Sequence[str | None], warn: Callable[[str], None]
) -> None:
    """Warn of columns that are neither features nor targets, nor used otherwise."""
    known = {*input_schema.columns, *input_schema.targets, *used}
    if extra := [name for name in file.table.column_names if name not in known]:
        warn(f"{file.source}: not read: {listed(extra)}")


def read_as_in_training(
    source: str | TableText,
    config: DatasetConfig,
    has_header: bool | None,
    wanted: Sequence[str],
    warn: Callable[[str], None],
) -> TableFile:
    """Read a table in the format of the training data; if columns are missing then, infer its format.

    The encoding is always inferred, unless the training data had an encoding that cannot be inferred.

    Raises:
        DataError: the table cannot be read.
    """
    trained = config.table_format() if isinstance(config, TableOptions) else TableFormat()
    header = trained.has_header if has_header is None else has_header
    encoding = None if trained.encoding in FOUND_ENCODINGS else trained.encoding
    formats = (
        replace(trained, has_header=header, encoding=encoding),
        TableFormat(has_header=has_header, encoding=encoding),
    )
    first: TableFile | DataError | None = None
    for table_format in dict.fromkeys(formats):
        try:
            file = read_table([source], table_format, missing_texts(config))
        except DataError as error:
            first = first or error
            continue
        if set(wanted) <= set(file.table.column_names):
            if file.format is not None and (other := describe_difference(file.format, trained)):
                warn(f"{file.source}: {other}")
            return file
        first = first or file
    if isinstance(first, TableFile):
        return first  # the caller reports the missing columns
    assert first is not None
    raise first


def missing_texts(config: DatasetConfig) -> tuple[str, ...]:
    """Return the texts that stand for a missing value in raw rows: the empty one, and those of training."""
    words = config.missing_texts() if isinstance(config, TableOptions) else MISSING
    return tuple(dict.fromkeys(("", *words)))


def keep_columns(table: pa.Table, keep: Sequence[str], source: str) -> dict[str, list[Any]]:
    """Return the columns to copy to the output, by name.

    Raises:
        ConfigError: one of them does not exist.
    """
    names = table.column_names
    if unknown := next((name for name in keep if name not in names), None):
        way = did_you_mean(unknown, names) or f"; it has {listed(names)}"
        raise ConfigError(f"--keep={show(unknown)}: {source} has no such column{way}")
    return {name: _output_values(table[name]) for name in keep}


def parse_raw(
    texts: Sequence[str],
    input_schema: InputSchema,
    missing: Sequence[str],
    warn: Callable[[str], None] = lambda line: None,
) -> RawInputs:
    """Return the rows of `--values`: each is a list of values in column order, or a list of NAME=VALUE.

    Args:
        texts: the rows.
        input_schema: the model's input schema.
        missing: texts that stand for a missing value; see `missing_texts`.
        warn: is called with each warning.

    Raises:
        DataError: the number of values is wrong, a name is unknown, or a value cannot be used.
    """
    columns = input_schema.columns
    rows = [_parse_row(text, columns) for text in texts]
    table = pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in columns})
    source, locate = "--values", lambda row: f"--values={spell(texts[row])}"
    return RawInputs(encode_table(table, input_schema, missing, source, locate, warn))


def encode_table(
    table: pa.Table,
    input_schema: InputSchema,
    missing: Sequence[str],
    source: str,
    locate: Locate,
    warn: Callable[[str], None] = lambda line: None,
) -> Tensor:
    """Return the rows of a table in memory as features (rows, features).

    Args:
        table: its columns are matched by name; others are ignored.
        input_schema: the model's input schema.
        missing: texts that stand for a missing value; see `missing_texts`.
        source: the name of the table in errors.
        locate: names one of its rows in errors.
        warn: is called with each warning.

    Raises:
        DataError: a column is missing, or a value cannot be used.
    """
    if set(input_schema.columns) <= set(table.column_names):  # else `encode` names all columns
        table = table.select(list(input_schema.columns))
    rows = normalize(table, missing, source)
    return _warn_of_issues(encode(_encoder_of(input_schema), rows, source, locate), source, warn)


def _parse_row(text: str, columns: Sequence[str]) -> dict[str, str]:
    (cells,) = csv.reader([text.replace("\n", " ")]) if text else [[""]]
    pairs = [cell.partition("=") for cell in cells]
    location = f"--values={spell(text)}"
    if not all(sign and name.strip() in columns for name, sign, _ in pairs):
        named = [name.strip() for name, sign, _ in pairs if sign]
        if len(named) == len(cells):
            unknown = next(name for name in named if name not in columns)
            way = did_you_mean(unknown, columns) or f"; the model reads {listed(columns)}"
            raise DataError(f"{location}: the model reads no column {spell(unknown)}{way}")
        if len(cells) != len(columns):
            raise DataError(
                f"{location}: {plural(len(cells), 'value')}, the model reads {len(columns)}: "
                f"{listed(columns)}"
            )
        return dict(zip(columns, cells, strict=True))
    found = {name.strip(): value for name, _, value in pairs}
    if len(found) < len(pairs):
        raise DataError(f"{location}: a column appears twice; keep one of them")
    if absent := [name for name in columns if name not in found]:
        raise DataError(
            f"{location}: columns missing: {listed(absent)}; leave an unknown value empty, as in NAME="
        )
    return found


def _rows_to_score(file: TableFile, targets: Sequence[str], warn: Callable[[str], None]) -> NDArray[np.int64]:
    """Return the rows that have all targets; as in training, the others are left out.

    Raises:
        DataError: there is no such row, or a target has no column.
    """
    names = file.table.column_names
    if absent := [name for name in targets if name not in names]:
        raise DataError(f"{file.source}: the target {listed(absent)} is missing; it has {listed(names)}")
    missing = [RawColumn(name, file.table[name], file.source, file.locate).missing for name in targets]
    rows = np.flatnonzero(~np.logical_or.reduce(missing))
    if len(rows) == 0:
        raise DataError(f"{file.source}: no row has a value of the target {listed(targets)}; fill it in")
    if left := len(file.table) - len(rows):
        warn(f"{file.source}: {describe_left_out(left)}")
    return rows


def _warn_of_issues(encoded: Encoded, source: str, warn: Callable[[str], None]) -> Tensor:
    """Warn of missing and unseen values, and return the encoded rows."""
    for issues in encoded.issues:
        warn(f"{source}: {issues}")
    return torch.from_numpy(encoded.values)


def _encoder_of(input_schema: InputSchema) -> TableEncoder:
    """Return the model's encoder; if it has none, one that leaves the features unchanged."""
    if input_schema.encoder is not None:
        return input_schema.encoder
    return TableEncoder(tuple(NumberColumn(name, None, Linear()) for name in input_schema.features))


def _output_values(column: pa.ChunkedArray) -> list[Any]:
    """Return a raw column's values for the output: dates as text, missing values as empty strings."""
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.string())
    values = column.to_pylist()
    return ["" if value is None else value for value in values] if pa.types.is_string(column.type) else values
