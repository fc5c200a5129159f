"""Reads raw rows for a trained model: matches columns by name and encodes them as in training."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import pyarrow as pa
import torch
from torch import Tensor

from mlpkit.config.dataset import DatasetConfig
from mlpkit.config.problems import did_you_mean, plural, show, spell
from mlpkit.data.arrow_table import normalize
from mlpkit.data.column_values import Locate
from mlpkit.data.encode import ColumnIssues, Encoded, encode
from mlpkit.data.encoder import Linear, NumberColumn, TableEncoder
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.inputs import Inputs, ReadOptions, as_pixels
from mlpkit.data.table_file import MISSING, TableFile, TableFormat, read_table
from mlpkit.data.table_format import FOUND_ENCODINGS, describe_difference
from mlpkit.data.table_options import TableOptions
from mlpkit.data.table_text import TableText
from mlpkit.data.tables import listed
from mlpkit.errors import ConfigError, DataError


class _Table(Protocol):
    """A table that was read, or only opened."""

    @property
    def names(self) -> Sequence[str]:
        """The names of its columns."""

    @property
    def format(self) -> TableFormat | None:
        """The format of its text."""

    @property
    def source(self) -> str:
        """Its name in errors."""


Table = TypeVar("Table", bound=_Table)


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
        input_schema: the model's input schema.
        options: the user's options.
        keep: raw columns to return unchanged.
        warn: is called with each warning.

    Raises:
        DataError: a column is missing, or a value cannot be used.
    """
    kept = {name: _output_values(file.table[name]) for name in keep}
    encoded = encode(encoder_of(input_schema), file.table, file.source, locate)
    values = torch.from_numpy(encoded.values)
    if options.max_pixel is not None:
        values = values / options.max_pixel
    values = as_pixels(Inputs(values), file.source, input_schema, options, warn).values
    return RawInputs(values, kept=kept, issues=encoded.issues)


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
    missing = missing_texts(config)
    return as_in_training(
        lambda table_format: read_table([source], table_format, missing), config, has_header, wanted, warn
    )


def as_in_training(
    read: Callable[[TableFormat], Table],
    config: DatasetConfig,
    has_header: bool | None,
    wanted: Sequence[str],
    warn: Callable[[str], None],
) -> Table:
    """Return what `read` does for the format of the training data; see `read_as_in_training`."""
    trained = config.table_format() if isinstance(config, TableOptions) else TableFormat()
    header = trained.has_header if has_header is None else has_header
    encoding = None if trained.encoding in FOUND_ENCODINGS else trained.encoding
    formats = (
        replace(trained, has_header=header, encoding=encoding),
        TableFormat(has_header=has_header, encoding=encoding),
    )
    first: Table | DataError | None = None
    for table_format in dict.fromkeys(formats):
        try:
            file = read(table_format)
        except DataError as error:
            first = first or error
            continue
        if set(wanted) <= set(file.names):
            if file.format is not None and (other := describe_difference(file.format, trained)):
                warn(f"{file.source}: {other}")
            return file
        first = first or file
    assert first is not None
    if isinstance(first, DataError):
        raise first
    return first  # the caller reports the missing columns


def missing_texts(config: DatasetConfig) -> tuple[str, ...]:
    """Return the texts that stand for a missing value in raw rows: the empty one, and those of training."""
    words = config.missing_texts() if isinstance(config, TableOptions) else MISSING
    return tuple(dict.fromkeys(("", *words)))


def keep_columns(table: pa.Table, keep: Sequence[str], source: str) -> dict[str, list[Any]]:
    """Return the columns to copy to the output, by name.

    Raises:
        ConfigError: one of them does not exist.
    """
    check_kept(keep, table.column_names, source)
    return {name: _output_values(table[name]) for name in keep}


def check_kept(keep: Sequence[str], names: Sequence[str], source: str) -> None:
    """Check that the columns to copy to the output exist.

    Raises:
        ConfigError: one of them does not.
    """
    if unknown := next((name for name in keep if name not in names), None):
        way = did_you_mean(unknown, names) or f"; it has {listed(names)}"
        raise ConfigError(f"--keep={show(unknown)}: {source} has no such column{way}")


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
    return _warn_of_issues(encode(encoder_of(input_schema), rows, source, locate), source, warn)


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


def _warn_of_issues(encoded: Encoded, source: str, warn: Callable[[str], None]) -> Tensor:
    """Warn of missing and unseen values, and return the encoded rows."""
    for issues in encoded.issues:
        warn(f"{source}: {issues}")
    return torch.from_numpy(encoded.values)


def encoder_of(input_schema: InputSchema) -> TableEncoder:
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
