"""Fits the encoder of a table that is larger than memory.

The kinds of the columns, medians and quantiles come from a random sample of the training rows. All else is
exact: means, standard deviations and ranges, the values of categories, and whether a value is missing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mlpkit.config.problems import spell
from mlpkit.data.column_settings import ColumnSettings, Scaled
from mlpkit.data.column_values import RawColumn, date_part
from mlpkit.data.encode import signed_log
from mlpkit.data.encoder import (
    CategoryColumn,
    Column,
    DateColumn,
    Linear,
    Log,
    NumberColumn,
    TableEncoder,
)
from mlpkit.data.fit_encoder import PLAIN, fit_levels
from mlpkit.data.moments import Moments
from mlpkit.errors import DataError

MOST_WORDS = 1_000_000  # different values of a category that are counted


class ExactFit:
    """Adds up what an encoder needs over all training rows."""

    def __init__(
        self, sampled: TableEncoder, settings: Mapping[str, ColumnSettings], scale: Scaled, signed: bool
    ) -> None:
        """Start from the encoder of the sample.

        Args:
            sampled: the encoder.
            settings: the user's settings, by column.
            scale: how numbers with scale=auto are scaled.
            signed: see `fit_encoder`.
        """
        self.columns = [column.column for column in sampled.columns]
        self._fits = [
            _fit_of(column, settings.get(column.column, PLAIN), scale, signed) for column in sampled.columns
        ]

    def add(self, columns: Sequence[RawColumn]) -> None:
        """Add training rows.

        Args:
            columns: the columns of the encoder, in its order.

        Raises:
            DataError: a value does not fit the kind of its column.
        """
        for fit, column in zip(self._fits, columns, strict=True):
            fit.add(column)

    def encoder(self) -> TableEncoder:
        """Return the encoder."""
        return TableEncoder(tuple(fit.fitted() for fit in self._fits))


class _Fit:
    """The fit of one column; of a boolean, as it is."""

    def __init__(self, column: Column) -> None:
        self.column, self.missing = column, 0

    def add(self, raw: RawColumn) -> None:
        self.missing += int(raw.missing.sum())

    def fitted(self) -> Column:
        return replace(self.column, flags_missing=self.missing > 0)


class _Number(_Fit):
    def __init__(self, column: NumberColumn, wanted: ColumnSettings, scale: str) -> None:
        super().__init__(column)
        self._number, self._fill = column, wanted.missing
        self._scale = scale if wanted.scale == "auto" else wanted.scale
        self._known, self._scaled = Moments(1), Moments(1)

    def add(self, raw: RawColumn) -> None:
        super().add(raw)
        numbers = raw.numbers()
        known = numbers[~np.isnan(numbers)][:, None]
        self._known.add(known)
        if self._scale == "log":
            self._scaled.add(signed_log(known))

    def fitted(self) -> Column:
        fill = float(self._known.mean[0]) if self._fill == "mean" else self._number.fill
        number = replace(self._number, fill=fill, flags_missing=self.missing > 0)
        moments = self._scaled if self._scale == "log" else self._known
        if not moments.count:
            return number
        if fill is not None:
            moments.add_equal(
                self.missing, float(signed_log(np.array(fill))) if self._scale == "log" else fill
            )
        linear = Linear(float(moments.mean[0]), _divisor(moments))
        if self._scale == "log":
            return replace(number, scale=Log(linear.shift, linear.divide_by))
        if self._scale == "minmax":
            low, spread = float(moments.low[0]), float(moments.high[0] - moments.low[0])
            return replace(number, scale=Linear(low, spread if 0 < spread <= 1e300 else 1.0))
        return replace(number, scale=linear) if self._scale == "standard" else number


class _Category(_Fit):
    def __init__(self, column: CategoryColumn, wanted: ColumnSettings, signed: bool) -> None:
        super().__init__(column)
        self._wanted, self._signed, self._counts = wanted, signed, dict[str, int]()

    def add(self, raw: RawColumn) -> None:
        super().add(raw)
        places, words = raw.texts()
        counts = np.bincount(places[places >= 0], minlength=len(words))
        for word, count in zip(words, counts.tolist(), strict=True):
            self._counts[word] = self._counts.get(word, 0) + count
        if len(self._counts) > MOST_WORDS:
            raise DataError(
                f"{raw.source}: column {spell(raw.name)}: over {MOST_WORDS:,} different values, too many for "
                "a category; put it into dataset.ignore"
            )

    def fitted(self) -> Column:
        def too_long(word: str) -> DataError:
            return DataError(
                f"column {spell(self.column.column)}: a value of over 1000 characters; shorten it"
            )

        counts: NDArray[np.int64] = np.array(list(self._counts.values()), np.int64)
        words, flags = list(self._counts), self.missing > 0
        return fit_levels(self.column.column, words, counts, self._wanted, flags, self._signed, too_long)


class _Date(_Fit):
    def __init__(self, column: DateColumn) -> None:
        super().__init__(column)
        self._date, self._moments = column, [Moments(1) for _ in column.parts]

    def add(self, raw: RawColumn) -> None:
        super().add(raw)
        dates = raw.dates(self._date.format)
        for part, moments in zip(self._date.parts, self._moments, strict=True):
            values = date_part(dates, part.name)
            moments.add(values[~np.isnan(values)][:, None])

    def fitted(self) -> Column:
        parts = tuple(
            replace(part, scale=Linear(float(moments.mean[0]), _divisor(moments))) if moments.count else part
            for part, moments in zip(self._date.parts, self._moments, strict=True)
        )
        return replace(self._date, parts=parts, flags_missing=self.missing > 0)


def _fit_of(column: Column, wanted: ColumnSettings, scale: str, signed: bool) -> _Fit:
    if isinstance(column, NumberColumn):
        return _Number(column, wanted, scale)
    if isinstance(column, CategoryColumn):
        return _Category(column, wanted, signed)
    return _Date(column) if isinstance(column, DateColumn) else _Fit(column)


def _divisor(moments: Moments) -> float:
    """Return the std; 1 for a constant column."""
    std = float(moments.std[0])
    return std if std <= 1e300 else 1.0
