"""Applies a fitted encoder: raw columns in, the numbers that a model reads out."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlpkit.config.problems import show, spell
from mlpkit.config.section import FLOAT32_MAX
from mlpkit.data.column_values import Flags, Floats, RawColumn, Where, date_part
from mlpkit.data.encoder import (
    BooleanColumn,
    CategoryColumn,
    Column,
    DateColumn,
    Linear,
    Log,
    NumberColumn,
    Quantile,
    TableEncoder,
)
from mlpkit.data.tables import listed
from mlpkit.errors import DataError

PORTION = 1 << 16  # rows that are encoded at once: what is made of them stays in the processor's caches

FARTHEST = 5.19933758  # of the normal distribution, where scikit-learn ends as well


@dataclass(frozen=True)
class ColumnIssues:
    """What is odd about a column's values.

    Attributes:
        column: its name.
        missing: how many are missing.
        unseen: how many no training row has.
        example: one of those.
    """

    column: str
    missing: int = 0
    unseen: int = 0
    example: str = ""

    def plus(self, other: "ColumnIssues") -> "ColumnIssues":
        """Return what is odd about the values here and there."""
        missing, unseen = self.missing + other.missing, self.unseen + other.unseen
        return ColumnIssues(self.column, missing, unseen, self.example or other.example)

    def __str__(self) -> str:
        """Return it in words."""
        parts = [f"{self.missing:,} missing"] if self.missing else []
        parts += [f"{self.unseen:,} not seen in training, such as {self.example}"] if self.unseen else []
        return f"column {spell(self.column)}: {', '.join(parts)}"


@dataclass(frozen=True)
class Encoded:
    """Rows as a model reads them.

    Attributes:
        values: (rows, features) float32.
        issues: the columns with missing or unseen values.
    """

    values: NDArray[np.float32]
    issues: tuple[ColumnIssues, ...]


def encode(encoder: TableEncoder, table: pa.Table, source: str, where: Where) -> Encoded:
    """Return the rows of a raw table as features; each row by itself, whatever others there are.

    Args:
        encoder: fitted on training rows.
        table: its columns are found by name, and others are not read.
        source: how errors name it.
        where: how errors name one of its rows.

    Raises:
        DataError: a column is missing, or a value is none that the encoder takes.
    """
    if missing := [of.column for of in encoder.columns if of.column not in table.column_names]:
        raise DataError(
            f"{source}: columns missing: {listed(missing)}; it has {listed(table.column_names)}; add them "
            "(a value may be left empty)"
        )
    values = np.empty((table.num_rows, encoder.width), np.float32)
    odd = {of.column: ColumnIssues(of.column) for of in encoder.columns}
    for start in range(0, table.num_rows, PORTION):
        portion = table.slice(start, PORTION)
        for found in _encode(encoder, portion, source, partial(_later, where, start), values[start:]):
            odd[found.column] = odd[found.column].plus(found)
    return Encoded(values, tuple(found for found in odd.values() if found.missing or found.unseen))


def _later(where: Where, start: int, row: int) -> str:
    """Return how errors name a row of a portion."""
    return where(start + row)


def _encode(
    encoder: TableEncoder, table: pa.Table, source: str, where: Where, values: NDArray[np.float32]
) -> Iterator[ColumnIssues]:
    """Write the features of some rows into the first rows of an array; yield what is odd about columns."""
    place = 0
    for of in encoder.columns:
        raw = RawColumn(of.column, table[of.column], source, where)
        yield ColumnIssues(of.column, int(raw.missing.sum()))
        for part in _features(of, raw):
            if isinstance(part, ColumnIssues):
                yield part
                continue
            if len(bad := np.flatnonzero(~(np.abs(part) <= FLOAT32_MAX))):
                raise raw.error(int(bad[0]), "too large for float32, in which the model computes")
            values[: len(part), place] = part
            place += 1


def scaled(values: Floats, scale: Linear | Log | Quantile) -> Floats:
    """Return numbers as a scale makes them."""
    if isinstance(scale, Quantile):
        import torch

        # From below and from above, so that equal quantiles give the middle of their shares.
        known, shares = np.asarray(scale.values), np.linspace(0, 1, len(scale.values))
        below = np.interp(values, known, shares)
        above = -np.interp(-values, -known[::-1], -shares[::-1])
        found: Floats = torch.special.ndtri(torch.from_numpy((below + above) / 2)).numpy()
        return np.clip(found, -FARTHEST, FARTHEST)
    if isinstance(scale, Log):
        values = signed_log(values)
    with np.errstate(over="ignore"):  # what is too large is refused with its row
        linear: Floats = (values - scale.shift) / scale.divide_by
    return linear


def signed_log(values: Floats) -> Floats:
    """Return sign(x) log(1 + |x|)."""
    found: Floats = np.copysign(np.log1p(np.abs(values)), values)
    return found


def _features(of: Column, raw: RawColumn) -> Iterator[Floats | Flags | ColumnIssues]:
    """Yield the features of a column in their order, and what is odd about it."""
    missing = raw.missing
    if _refuses_missing(of) and missing.any():
        raise raw.error(int(np.flatnonzero(missing)[0]), "no value; fill it in or remove the row")
    if isinstance(of, NumberColumn):
        numbers = raw.numbers()
        yield scaled(np.where(np.isnan(numbers), 0.0 if of.fill is None else of.fill, numbers), of.scale)
    elif isinstance(of, BooleanColumn):
        found, unseen = raw.booleans()
        yield found
        yield _unseen(raw, unseen)
    elif isinstance(of, CategoryColumn):
        yield from _one_hot(of, raw, missing)
    elif isinstance(of, DateColumn):
        dates = raw.dates(of.format)
        for part in of.parts:
            numbers = scaled(date_part(dates, part.name), part.scale)
            yield np.where(np.isnan(numbers), 0.0, numbers)  # the mean of the training rows
    if of.flags_missing:
        yield missing


def _one_hot(of: CategoryColumn, raw: RawColumn, missing: Flags) -> Iterator[Floats | Flags | ColumnIssues]:
    places, words = raw.texts()
    known = {level: place for place, level in enumerate(of.levels)}
    level: NDArray[np.int64] = np.array([*(known.get(word, -1) for word in words), -1], np.int64)[places]
    unseen = (level < 0) & ~missing
    other = unseen if of.flags_missing else level < 0
    if "unknown" in of.refuses and unseen.any():
        row = int(np.flatnonzero(unseen)[0])
        raise raw.error(row, f"{show(words[places[row]])} is none of {listed(of.levels)}")
    if of.is_single:
        single: Floats = np.where(level < 0, 0.5, level.astype(np.float64))
        yield single
    else:
        for place in range(len(of.levels)):
            yield np.equal(level, place)
    if of.has_other:
        yield other
    yield _unseen(raw, unseen)


def _unseen(raw: RawColumn, unseen: Flags) -> ColumnIssues:
    """Return how many values are unseen, and one of them."""
    rows = np.flatnonzero(unseen)
    return ColumnIssues(raw.name, 0, len(rows), show(raw.flat[rows[0]].as_py()) if len(rows) else "")


def _refuses_missing(of: Column) -> bool:
    if isinstance(of, NumberColumn):
        return of.fill is None
    return "missing" in of.refuses if isinstance(of, CategoryColumn) else of.refuses_missing
