"""Reads raw rows for a trained model in portions: columns are matched by name and encoded as in training."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlpkit.config.dataset import DatasetConfig
from mlpkit.config.problems import spell
from mlpkit.data.column_values import RawColumn
from mlpkit.data.encode import ColumnIssues, check_columns
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.inputs import DEFAULT_OPTIONS, ReadOptions
from mlpkit.data.raw_inputs import (
    RawInputs,
    as_in_training,
    check_kept,
    encode_rows,
    encoder_of,
    missing_texts,
)
from mlpkit.data.table_file import TableFile
from mlpkit.data.table_portions import OpenTable, open_table
from mlpkit.data.table_targets import describe_left_out, encode_targets
from mlpkit.data.table_weights import all_zero, read_portion
from mlpkit.data.tables import listed
from mlpkit.errors import DataError

Warn = Callable[[str], None]


def read_raw(
    source: str,
    input_schema: InputSchema,
    config: DatasetConfig,
    options: ReadOptions = DEFAULT_OPTIONS,
    keep: Sequence[str] = (),
    with_targets: bool = False,
    warn: Warn = lambda line: None,
) -> Iterator[RawInputs]:
    """Yield the encoded rows of a table, portion by portion; see `open_table` for what is kept in memory.

    Columns are matched by name; other columns are ignored.

    Args:
        source: the file, or `-` for stdin.
        input_schema: the model's input schema.
        config: the config of the dataset that the model was trained on; its text format is tried first.
        options: the user's options.
        keep: raw columns to return unchanged.
        with_targets: whether to read targets and weights, for scoring; rows without a target are left out.
        warn: is called with each warning; with the counts of values after the last row.

    Raises:
        ConfigError: a column to keep does not exist.
        DataError: a column is missing, or a value cannot be used.
    """
    targets = input_schema.targets if with_targets else ()
    wanted, weight = (*input_schema.columns, *targets), config.weight_name()
    missing, columns = missing_texts(config), {*wanted, *keep, *([weight] if weight and with_targets else [])}
    file = as_in_training(
        lambda table_format: open_table(source, table_format, missing, columns),
        config,
        options.has_header,
        wanted,
        warn,
    )
    scored = _Scored(file, input_schema, config, weight) if with_targets else None
    issues: list[ColumnIssues] = []
    is_first = True
    for portion in file.read():
        labelled = _Labelled(portion) if scored is None else scored.take(portion)
        if labelled is None:
            continue
        if is_first:
            _check(file, input_schema, keep, weight, with_targets, warn)
        table, say = labelled.file, warn if is_first else lambda line: None
        found = encode_rows(table, table.locate, input_schema, options, keep, say)
        issues, is_first = list(ColumnIssues.summed([*issues, *found.issues])), False
        yield replace(found, targets=labelled.targets, weights=labelled.weights)
    if scored is not None:
        scored.finish(warn)
    for each in sorted(issues, key=lambda of: input_schema.columns.index(of.column)):
        warn(f"{file.source}: {each}")


def _check(
    file: OpenTable,
    input_schema: InputSchema,
    keep: Sequence[str],
    weight: str | None,
    with_targets: bool,
    warn: Warn,
) -> None:
    """Warn of columns that are missing or not read; a missing feature or column to keep is an error."""
    if with_targets and weight is not None and weight not in file.names:
        warn(f"{file.source}: no column {spell(weight)}, so all rows count the same in the loss")
    known = {*input_schema.columns, *input_schema.targets, *keep, weight}
    if extra := [name for name in file.names if name not in known]:
        warn(f"{file.source}: not read: {listed(extra)}")
    check_kept(keep, file.names, file.source)
    check_columns(encoder_of(input_schema), file.names, file.source)


@dataclass(frozen=True)
class _Labelled:
    """Rows of a table with their targets and weights, if they were read."""

    file: TableFile
    targets: Tensor | None = None
    weights: Tensor | None = None


@dataclass
class _Scored:
    """Takes the rows that have all targets from each portion; as in training, the others are left out."""

    table: OpenTable
    input_schema: InputSchema
    config: DatasetConfig
    weight: str | None
    left: int = 0
    rows: int = 0
    has_weight: bool = field(default=False)

    def __post_init__(self) -> None:
        """Check that the targets are there.

        Raises:
            DataError: one is not.
        """
        names = self.table.names
        if absent := [name for name in self.input_schema.targets if name not in names]:
            raise DataError(
                f"{self.table.source}: the target {listed(absent)} is missing; it has {listed(names)}"
            )

    def take(self, file: TableFile) -> _Labelled | None:
        """Return the rows that have all targets; None if none has.

        Raises:
            DataError: a target or a weight cannot be used.
        """
        targets, source = self.input_schema.targets, file.source
        missing = [RawColumn(name, file.table[name], source, file.locate).missing for name in targets]
        rows: NDArray[np.int64] = np.flatnonzero(~np.logical_or.reduce(missing))
        self.rows, self.left = self.rows + len(rows), self.left + len(file.table) - len(rows)
        if len(rows) == 0:
            return None
        if len(rows) < len(file.table):
            whole = file.locate
            places = ((len(rows), lambda row: whole(int(rows[row]))),)
            file = replace(file, table=file.table.take(rows), locations=places)
        columns = [RawColumn(name, file.table[name], source, file.locate) for name in targets]
        values = torch.from_numpy(
            encode_targets(columns, self.input_schema, self.config.transform_of_targets())
        )
        if self.weight not in self.table.names:
            return _Labelled(file, values)
        name = str(self.weight)
        weights = read_portion(RawColumn(name, file.table[name], source, file.locate))
        self.has_weight |= bool(weights.any())
        return _Labelled(file, values, torch.from_numpy(weights))

    def finish(self, warn: Warn) -> None:
        """Say how many rows were left out, after the last portion.

        Raises:
            DataError: all were, or all weights are 0.
        """
        source, targets = self.table.source, self.input_schema.targets
        if self.rows == 0:
            raise DataError(f"{source}: no row has a value of the target {listed(targets)}; fill it in")
        if self.weight in self.table.names and not self.has_weight:
            raise all_zero(str(self.weight), source)
        if self.left:
            warn(f"{source}: {describe_left_out(self.left)}")
