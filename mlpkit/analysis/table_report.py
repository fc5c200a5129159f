"""Summaries of a table's columns, and what looks wrong in them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from mlpkit.config.problems import spell
from mlpkit.data.column_values import RawColumn, is_numeric
from mlpkit.data.columns import ColumnKind
from mlpkit.data.raw_table import RawTable
from mlpkit.errors import DataError

FAR = 10.0  # a number more than so many interquartile ranges beyond the quartiles is an outlier
EXAMPLES = 3  # texts


@dataclass(frozen=True)
class ColumnSummary:
    """The values of a column in all rows of the table.

    Attributes:
        name: the column's name.
        kind: as `ColumnKind.kind`; or target, weight, ignored or split.
        missing: share of the rows without a value.
        distinct: number of different values; None where they cannot be compared.
        values: the smallest and the largest value, or the most frequent ones.
    """

    name: str
    kind: str
    missing: float
    distinct: int | None
    values: str


def summarize(column: RawColumn, kind: str) -> ColumnSummary:
    """Return the summary of a column.

    Args:
        column: the column, with all rows.
        kind: see `ColumnSummary`.
    """
    try:
        distinct, values = int(pc.count_distinct(column.flat).as_py()), _values(column)
    except (pa.ArrowException, DataError):  # lists and the like
        distinct, values = None, f"values of type {column.flat.type}"
    return ColumnSummary(column.name, kind, float(column.missing.mean()), distinct, values)


def count_repeated(table: pa.Table) -> int | None:
    """Return how many rows equal an earlier one in all columns; None where values cannot be compared."""
    try:
        groups = table.group_by(table.column_names).aggregate([([], "count_all")])
    except pa.ArrowException:
        return None
    return int(table.num_rows - groups.num_rows)


def is_in_time_order(column: RawColumn) -> bool:
    """Whether the rows are sorted by a column of dates, as those of a time series are."""
    if not column.are_dates():
        return False
    dates = column.dates(None)
    if len(dates) < 2 or np.isnat(dates).any():
        return False
    return bool((dates[1:] >= dates[:-1]).all() and dates[-1] > dates[0])


def outliers(column: RawColumn) -> str | None:
    """Return a line about a column of numbers that has outliers, or None."""
    try:
        numbers = column.numbers()
    except DataError as error:
        return str(error)
    known = numbers[~np.isnan(numbers)]
    if not len(known):
        return None
    low, high = np.quantile(known, (0.25, 0.75))
    far = FAR * (high - low)
    with np.errstate(invalid="ignore"):
        rows = np.flatnonzero((numbers < low - far) | (numbers > high + far))
    if far == 0 or not len(rows):
        return None
    farthest = rows[np.abs(numbers[rows] - (low + high) / 2).argmax()]
    return (
        f"outliers in {spell(column.name)}: {len(rows):,} over {FAR:g} interquartile ranges from the "
        f"quartiles; the farthest is {numbers[farthest]:g} at {column.locate(int(farthest))}; correct them, "
        f"or set dataset.columns.{spell(column.name)}.scale=quantile"
    )


def _values(column: RawColumn) -> str:
    """Return a range of numbers or dates, or the most frequent texts."""
    values, kind = column.flat.drop_null(), column.flat.type
    if not len(values):
        return ""
    if pa.types.is_string(kind) and column.share_of_numbers() == 1:
        numbers = column.numbers()
        return f"{np.nanmin(numbers):g} … {np.nanmax(numbers):g}"
    if (is_numeric(kind) and not pa.types.is_boolean(kind)) or pa.types.is_temporal(kind):
        ends = pc.min_max(values).as_py()
        low, high = (f"{end:g}" if isinstance(end, float) else str(end) for end in ends.values())
        return f"{low} … {high}"
    if pa.types.is_string(kind) and column.are_dates():
        return f"{pc.min(values)} … {pc.max(values)}"
    indices, words = column.texts()
    counts = np.bincount(indices[indices >= 0], minlength=len(words))
    common = np.argsort(-counts, kind="stable")[:EXAMPLES]
    listed = [words[index] if len(words[index]) <= 20 else f"{words[index][:19]}…" for index in common]
    return ", ".join([*listed, "…"] if len(words) > EXAMPLES else listed)


def all_columns(
    raw: RawTable,
    kinds: Sequence[ColumnKind],
    targets: Sequence[str],
    ignored: Sequence[str],
    weight: str | None = None,
) -> list[ColumnSummary]:
    """Return a summary of each column of a table, in the table's order."""
    named = {kind.name: kind.kind for kind in kinds}
    named |= {weight: "weight"} if weight is not None else {}
    named |= dict.fromkeys(ignored, "ignored") | dict.fromkeys(targets, "target")
    columns = raw.columns(raw.table.column_names)
    return [summarize(column, named.get(column.name, "split")) for column in columns]
