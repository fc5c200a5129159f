"""Applies a fitted encoder: turns raw columns into features."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlpkit.config.problems import show, spell
from mlpkit.config.section import FLOAT32_MAX
from mlpkit.data.column_values import Flags, Floats, Locate, RawColumn, date_part, fit_float32
from mlpkit.data.encoder import (
    BooleanColumn,
    CategoryColumn,
    Column,
    DateColumn,
    Log,
    NumberColumn,
    Quantile,
    Scale,
    SmoothClip,
    TableEncoder,
)
from mlpkit.data.tables import listed
from mlpkit.errors import DataError

PORTION = 1 << 16  # rows that are encoded at once, so that they fit into the processor's caches

FARTHEST = 5.19933758  # largest output of quantile scaling, the same as scikit-learn's


@dataclass(frozen=True)
class ColumnIssues:
    """Counts of missing and unseen values in a column.

    Attributes:
        column: name of the column.
        missing: how many values are missing.
        unseen: how many values did not occur in the training rows.
        example: one of the unseen values.
    """

    column: str
    missing: int = 0
    unseen: int = 0
    example: str = ""

    def plus(self, other: "ColumnIssues") -> "ColumnIssues":
        """Return the sum of both counts."""
        missing, unseen = self.missing + other.missing, self.unseen + other.unseen
        return ColumnIssues(self.column, missing, unseen, self.example or other.example)

    @staticmethod
    def summed(issues: "Iterable[ColumnIssues]") -> "tuple[ColumnIssues, ...]":
        """Return the sum for each column in which a value is missing or unseen."""
        sums: dict[str, ColumnIssues] = {}
        for found in issues:
            before = sums.get(found.column)
            sums[found.column] = found if before is None else before.plus(found)
        return tuple(found for found in sums.values() if found.missing or found.unseen)

    def __str__(self) -> str:
        """Return the counts as text."""
        parts = [f"{self.missing:,} missing"] if self.missing else []
        parts += [f"{self.unseen:,} not seen in training, such as {self.example}"] if self.unseen else []
        return f"column {spell(self.column)}: {', '.join(parts)}"


@dataclass(frozen=True)
class Encoded:
    """Encoded rows.

    Attributes:
        values: (rows, features) float32.
        issues: the columns with missing or unseen values.
    """

    values: NDArray[np.float32]
    issues: tuple[ColumnIssues, ...]


def encode(encoder: TableEncoder, table: pa.Table, source: str, locate: Locate) -> Encoded:
    """Encode the rows of a raw table; a row's features do not depend on the other rows.

    Args:
        encoder: the encoder, fitted on training rows.
        table: the raw table; columns are matched by name, and others are ignored.
        source: the name of the table in errors.
        locate: names one of its rows in errors.

    Raises:
        DataError: a column is missing, or the encoder cannot encode a value.
    """
    check_columns(encoder, table.column_names, source)
    values = np.empty((table.num_rows, encoder.width), np.float32)
    issues: list[ColumnIssues] = []
    for start in range(0, table.num_rows, PORTION):
        portion, names = table.slice(start, PORTION), partial(_locate_in_portion, locate, start)
        raw = (RawColumn(spec.column, portion[spec.column], source, names) for spec in encoder.columns)
        issues += encode_columns(encoder, raw, values[start:])
    return Encoded(values, ColumnIssues.summed(issues))


def check_columns(encoder: TableEncoder, names: Sequence[str], source: str) -> None:
    """Check that a table has all columns of an encoder.

    Raises:
        DataError: one is missing.
    """
    if missing := [spec.column for spec in encoder.columns if spec.column not in names]:
        raise DataError(
            f"{source}: columns missing: {listed(missing)}; it has {listed(names)}; add them "
            "(a value may be left empty)"
        )


def _locate_in_portion(locate: Locate, start: int, row: int) -> str:
    """Locate a row of a portion that begins at a row of the table."""
    return locate(start + row)


def encode_columns(
    encoder: TableEncoder, columns: Iterable[RawColumn], values: NDArray[np.float32]
) -> Iterator[ColumnIssues]:
    """Write the features of some rows into `values`, and yield the issues of each column.

    Args:
        encoder: the encoder.
        columns: the raw columns, in its order.
        values: (rows or more, features) gets the features.

    Raises:
        DataError: the encoder cannot encode a value.
    """
    index = 0
    for spec, raw in zip(encoder.columns, columns, strict=True):
        yield ColumnIssues(spec.column, int(raw.missing.sum()))
        for part in _features(spec, raw):
            if isinstance(part, ColumnIssues):
                yield part
                continue
            if part.dtype != np.bool_ and not fit_float32(part):
                bad = np.flatnonzero(~(np.abs(part) <= FLOAT32_MAX))
                raise raw.error(int(bad[0]), "too large for float32, in which the model computes")
            values[: len(part), index] = part
            index += 1


def scaled(values: Floats, scale: Scale) -> Floats:
    """Return scaled numbers."""
    if isinstance(scale, Quantile):
        import torch

        # Interpolate from both sides, so that a value with several quantiles gets the middle of them.
        known, shares = np.asarray(scale.values), np.linspace(0, 1, len(scale.values))
        below = np.interp(values, known, shares)
        above = -np.interp(-values, -known[::-1], -shares[::-1])
        found: Floats = torch.special.ndtri(torch.from_numpy((below + above) / 2)).numpy()
        return np.clip(found, -FARTHEST, FARTHEST)
    if isinstance(scale, Log):
        values = signed_log(values)
    with np.errstate(over="ignore"):  # `encode_columns` refuses values that are too large, and names the row
        linear: Floats = (values - scale.shift) / scale.divide_by
    if isinstance(scale, SmoothClip):
        with np.errstate(invalid="ignore"):
            linear = linear / np.hypot(1.0, linear / 3)
    return linear


def unscaled(values: Floats, scale: Scale) -> Floats:
    """Return the numbers that become these scaled ones; the inverse of `scaled`."""
    if isinstance(scale, Quantile):
        import torch

        shares = torch.special.ndtr(torch.from_numpy(values)).numpy()
        found: Floats = np.interp(shares, np.linspace(0, 1, len(scale.values)), np.asarray(scale.values))
        return found
    if isinstance(scale, SmoothClip):
        values = values / np.sqrt(np.maximum(1 - (values / 3) ** 2, 1e-12))
    linear: Floats = values * scale.divide_by + scale.shift
    return np.copysign(np.expm1(np.abs(linear)), linear) if isinstance(scale, Log) else linear


def signed_log(values: Floats) -> Floats:
    """Return sign(x) log(1 + |x|)."""
    found: Floats = np.copysign(np.log1p(np.abs(values)), values)
    return found


def _features(spec: Column, raw: RawColumn) -> Iterator[Floats | Flags | ColumnIssues]:
    """Yield the features of a column in order, and its unseen values."""
    missing = raw.missing
    if _refuses_missing(spec) and missing.any():
        raise raw.error(int(np.flatnonzero(missing)[0]), "no value; fill it in or remove the row")
    if isinstance(spec, NumberColumn):
        numbers = raw.numbers()
        if (is_nan := np.isnan(numbers)).any():
            numbers = np.where(is_nan, 0.0 if spec.fill is None else spec.fill, numbers)
        yield scaled(numbers, spec.scale)
    elif isinstance(spec, BooleanColumn):
        found, unseen = raw.booleans()
        yield 2 * found - 1 if spec.signed else found
        yield _unseen(raw, unseen)
    elif isinstance(spec, CategoryColumn):
        yield from _one_hot(spec, raw, missing)
    elif isinstance(spec, DateColumn):
        dates = raw.dates(spec.format)
        for part in spec.parts:
            numbers = scaled(date_part(dates, part.name), part.scale)
            yield np.where(np.isnan(numbers), 0.0, numbers)  # the mean of the training rows
    if spec.flags_missing:
        yield missing


def _one_hot(spec: CategoryColumn, raw: RawColumn, missing: Flags) -> Iterator[Floats | Flags | ColumnIssues]:
    indices, words = raw.texts()
    known = {level: index for index, level in enumerate(spec.levels)}
    level: NDArray[np.int64] = np.array([*(known.get(word, -1) for word in words), -1], np.int64)[indices]
    unseen = (level < 0) & ~missing
    other = unseen if spec.flags_missing else level < 0
    if "unknown" in spec.refuses and unseen.any():
        row = int(np.flatnonzero(unseen)[0])
        raise raw.error(row, f"{show(words[indices[row]])} is none of {listed(spec.levels)}")
    if spec.is_single:
        single: Floats = np.where(level < 0, 0.5, level.astype(np.float64))
        yield 2 * single - 1 if spec.signed else single
    else:
        for index in range(len(spec.levels)):
            yield np.equal(level, index)
    if spec.has_other:
        yield other
    yield _unseen(raw, unseen)


def _unseen(raw: RawColumn, unseen: Flags) -> ColumnIssues:
    """Return the number of unseen values, with an example."""
    rows = np.flatnonzero(unseen)
    return ColumnIssues(raw.name, 0, len(rows), show(raw.value(int(rows[0]))) if len(rows) else "")


def _refuses_missing(spec: Column) -> bool:
    if isinstance(spec, NumberColumn):
        return spec.fill is None
    return "missing" in spec.refuses if isinstance(spec, CategoryColumn) else spec.refuses_missing
