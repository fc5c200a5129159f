"""Fits the encoder of a table on its training rows."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlpkit.config.problems import spell
from mlpkit.data.column_settings import ColumnSettings, Scaled
from mlpkit.data.column_values import Floats, RawColumn, date_part
from mlpkit.data.columns import ColumnKind
from mlpkit.data.encode import signed_log
from mlpkit.data.encoder import (
    BooleanColumn,
    CategoryColumn,
    Column,
    DateColumn,
    DateFeature,
    Linear,
    Log,
    NumberColumn,
    Quantile,
    Scale,
    SmoothClip,
    TableEncoder,
)
from mlpkit.errors import ConfigError, DataError

MOST_QUANTILES = 256
PLAIN = ColumnSettings()

_ONLY_FOR = {  # the settings of each kind of column, besides type and missing
    "number": ("scale",),
    "category": ("min_count", "max_levels", "unknown"),
    "boolean": (),
    "date": ("format", "parts"),
}


def fit_encoder(
    columns: Sequence[RawColumn],
    kinds: Sequence[ColumnKind],
    settings: Mapping[str, ColumnSettings],
    scale: Scaled,
    signed: bool = False,
) -> TableEncoder:
    """Fit the encoder of the columns that become features.

    Args:
        columns: the columns, with the training rows only.
        kinds: the kind of each column.
        settings: the user's settings, by column.
        scale: how numbers with scale=auto are scaled.
        signed: whether yes and no, and two categories, become -1 and 1.

    Raises:
        ConfigError: a setting does not fit the kind of its column.
        DataError: a value does not fit the kind of its column, or no column is left.
    """
    fitted = [
        _fit(column, kind.kind, settings.get(column.name, PLAIN), scale, signed)
        for column, kind in zip(columns, kinds, strict=True)
        if kind.is_encoded
    ]
    if not fitted:
        source = columns[0].source if columns else "dataset.path"
        raise DataError(f"{source}: no column is left to predict from; set dataset.columns.NAME.type")
    return TableEncoder(tuple(fitted))


def _fit(column: RawColumn, kind: str, wanted: ColumnSettings, scale: Scaled, signed: bool) -> Column:
    _check(column, kind, wanted)
    missing = column.missing
    refuses, flags = wanted.missing == "refuse", bool(missing.any())
    if refuses and flags:
        row = int(np.flatnonzero(missing)[0])
        raise column.error(row, f"no value, and dataset.columns.{spell(column.name)}.missing=refuse")
    if kind == "number":
        return _fit_number(column, wanted, scale)
    if kind == "category":
        return _fit_category(column, wanted, flags, signed)
    if kind == "boolean":
        column.booleans()
        return BooleanColumn(column.name, refuses, flags, signed)
    dates = column.dates(wanted.format)
    parts = [
        DateFeature(name, _standard(_known(date_part(dates, name)))) for name in dict.fromkeys(wanted.parts)
    ]
    return DateColumn(column.name, tuple(parts), wanted.format, refuses, flags)


def _check(column: RawColumn, kind: str, wanted: ColumnSettings) -> None:
    """Refuse a setting that belongs to another kind of column."""
    others = {key: other for other, keys in _ONLY_FOR.items() for key in keys if other != kind}
    if kind != "number" and wanted.missing not in ("median", "refuse"):
        others["missing"] = "number"
    for key, other in others.items():
        if key == "missing" or getattr(wanted, key) != getattr(PLAIN, key):
            raise ConfigError(
                f"dataset.columns.{spell(column.name)}.{key}: only for a {other}, but the column is "
                f"a {kind}; leave it out, or set type={other}"
            )


def _fit_number(column: RawColumn, wanted: ColumnSettings, scale: Scaled) -> NumberColumn:
    numbers = column.numbers()
    known = _known(numbers)
    if wanted.missing == "refuse":
        fill = None
    elif isinstance(wanted.missing, str):
        fill = float(np.median(known) if wanted.missing == "median" else known.mean()) if len(known) else 0.0
    else:
        fill = wanted.missing
    filled = known if fill is None else np.where(np.isnan(numbers), fill, numbers)
    scale = scale if wanted.scale == "auto" else wanted.scale
    found: Scale
    if scale == "quantile":
        shares = np.linspace(0, 1, max(2, min(MOST_QUANTILES, len(filled))))
        found = Quantile(tuple(np.maximum.accumulate(np.quantile(filled, shares)).tolist()))
    elif scale == "log":
        linear = _standard(signed_log(filled))
        found = Log(linear.shift, linear.divide_by)
    elif scale == "smooth_clip":
        linear = _linear(filled, "robust")
        found = SmoothClip(linear.shift, linear.divide_by)
    else:
        found = _linear(filled, scale)
    return NumberColumn(column.name, fill, found, bool(np.isnan(numbers).any()))


def _linear(values: Floats, scale: str) -> Linear:
    if scale == "none":
        return Linear()
    if scale == "minmax":
        return Linear(float(values.min()), _divisor(float(values.max() - values.min())))
    if scale == "robust":
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
        return Linear(middle, _divisor(high - low or float(values.std())))
    return _standard(values)


def _standard(values: Floats) -> Linear:
    """Return the scale to mean 0 and standard deviation 1."""
    if not len(values):
        return Linear()
    return Linear(float(values.mean()), _divisor(float(values.std())))


def _divisor(spread: float) -> float:
    """Return the divisor of a scale: 1 for a constant column."""
    return spread if 0 < spread <= 1e300 else 1.0


def _fit_category(column: RawColumn, wanted: ColumnSettings, flags: bool, signed: bool) -> CategoryColumn:
    places, words = column.texts()
    counts = np.bincount(places[places >= 0], minlength=len(words))

    def too_long(word: str) -> DataError:
        row = int(np.flatnonzero(places == words.index(word))[0])
        return column.error(row, "a value of over 1000 characters; shorten it")

    return fit_levels(column.name, words, counts, wanted, flags, signed, too_long)


def fit_levels(
    name: str,
    words: Sequence[str],
    counts: NDArray[np.int64],
    wanted: ColumnSettings,
    flags: bool,
    signed: bool,
    too_long: Callable[[str], DataError],
) -> CategoryColumn:
    """Fit a category from its values.

    Args:
        name: of the column.
        words: its different values, in the order in which they first occur.
        counts: how often each occurs.
        wanted: the user's settings.
        flags: whether a value is missing.
        signed: see `fit_encoder`.
        too_long: returns the error for a value that is too long.

    Raises:
        ConfigError: no value is frequent enough.
        DataError: a value is too long.
    """
    common = [place for place in np.argsort(-counts, kind="stable") if counts[place] >= wanted.min_count]
    kept = common[: wanted.max_levels]
    if not kept:
        raise ConfigError(
            f"dataset.columns.{spell(name)}.min_count={wanted.min_count}: no value occurs in so many "
            "training rows; choose a smaller number"
        )
    if long := next((words[place] for place in kept if len(words[place]) > 1000), None):
        raise too_long(long)
    levels = sorted((words[place] for place in kept), key=numbers_then_text)
    refused = {"missing": wanted.missing == "refuse", "unknown": wanted.unknown == "refuse"}
    kinds: tuple[Literal["missing", "unknown"], ...] = ("missing", "unknown")
    has_other = len(kept) < len(words)
    return CategoryColumn(
        name,
        tuple(levels),
        has_other=has_other,
        flags_missing=flags,
        refuses=tuple(kind for kind in kinds if refused[kind]),
        signed=signed and len(levels) == 2 and not has_other,
    )


def numbers_then_text(text: str) -> tuple[float, str]:
    """Sort key: numbers by value first, then other strings alphabetically."""
    try:
        number = float(text)
    except ValueError:
        number = math.inf
    return (math.inf if math.isnan(number) else number), text


def _known(values: Floats) -> Floats:
    return values[~np.isnan(values)]
