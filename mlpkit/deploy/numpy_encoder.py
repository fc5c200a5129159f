"""Reads the raw rows of a table and encodes them as in training, with NumPy alone.

mlpkit writes copies of this text and of `numpy_model.py` into its exports, so neither imports more of mlpkit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import date, datetime, timezone
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
WHOLE = re.compile(r"([+-]?[0-9]+)\.0+")
LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
ISO_DAY = (
    "(?:[0-9]{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    f"|{LEAP_YEAR}-02-29)"
)
ISO_DATE = re.compile(
    f"({ISO_DAY})"
    r"(?:[T ]([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]|6[01])(?:\.[0-9]+)?(?:Z|\+00:00)?)?)?"
)
YES = ("true", "yes", "y", "t", "1")
NO = ("false", "no", "n", "f", "0")
FLOAT32_MAX = float(np.finfo(np.float32).max)
FARTHEST = 5.19933758  # largest output of quantile scaling

UTC = timezone.utc  # noqa: UP017  # Python 3.10 has no datetime.UTC

Array = NDArray[Any]


class Encoder:
    """Turns raw rows into features."""

    def __init__(self, content: dict[str, Any]) -> None:
        """Take what mlpkit has written as JSON."""
        self.content = content

    def encode(self, rows: Any) -> NDArray[np.float32]:
        """Return the features (rows, features) of raw rows.

        Raises:
            ValueError: a column is missing, or a value cannot be used.
        """
        columns = self.content["columns"]
        if isinstance(rows, list) and rows and not isinstance(rows[0], dict):
            rows = np.asarray(rows, float if columns is None else object)
        if isinstance(rows, np.ndarray):
            if columns is not None or rows.ndim < 2 or rows[:1].size not in (0, self.content["features"]):
                wanted = f"{self.content['features']} features" if columns is None else "named columns"
                raise ValueError(f"the model reads {wanted}, not an array of shape {rows.shape}")
            whole = 255 if self.content["pictures"] and rows.dtype == np.uint8 else 1
            parts: list[Array] = list(rows.reshape(len(rows), -1).T / whole)
            labels = [str(place) for place in range(len(parts))]
        else:
            plain = {"kind": "number", "fill": None, "scale": {"kind": "linear", "shift": 0, "divide_by": 1}}
            columns = columns or [{**plain, "column": name} for name in self.content["names"]]
            if not columns:
                raise ValueError("the model reads pictures as an array (rows, pixels), not as columns")
            found = [(column["column"], part) for column in columns for part in self._features(column, rows)]
            parts, labels = [part for _, part in found], [name for name, _ in found]
        for part, label in zip(parts, labels, strict=True):
            bad = np.flatnonzero(~(np.abs(part) <= FLOAT32_MAX))
            if len(bad):
                raise ValueError(f"row {bad[0] + 1}: column {label}: no value, or one that is too large")
        return np.stack(parts, axis=1).astype(np.float32)

    def _features(self, column: dict[str, Any], rows: Any) -> Iterator[Array]:
        """Yield the features (rows,) of a raw column; NaN where the value is refused."""
        kind, name = column["kind"], column["column"]
        values = _column(rows, name)
        missing = np.array([_is_missing(value, self.content["missing"]) for value in values], bool)
        read = {"number": _number, "date": _date(column), "boolean": _boolean, "category": _level(column)}
        parsed = np.full(len(values), np.nan)
        for row in np.flatnonzero(~missing):
            try:
                parsed[row] = read[kind](values[row])
            except (ValueError, TypeError, OverflowError) as error:
                raise ValueError(f"row {row + 1}: column {name}: {error}") from None
        if kind == "number":
            fill = np.nan if column["fill"] is None else column["fill"]
            yield _scaled(np.where(missing, fill, parsed), column)
        elif kind == "date":
            for part in column["parts"]:
                scaled = _scaled(_date_part(parsed, part["name"]), part)
                yield scaled if column["refuses_missing"] else np.where(missing, 0.0, scaled)
        elif kind == "boolean":
            yield _signed(np.where(missing, np.nan if column["refuses_missing"] else 0.5, parsed), column)
        else:
            yield from _one_hot(column, parsed, missing)
        if column.get("flags_missing"):
            yield missing.astype(np.float64)


def _column(rows: Any, name: str) -> list[Any]:
    """Return a column of a list of dicts, a dict of columns or a data frame."""
    try:
        values = [row[name] for row in rows] if isinstance(rows, list) else rows[name]
    except KeyError:
        raise ValueError(f"column {name} is missing (a value may be left empty)") from None
    if isinstance(values, list):
        return values
    array = np.asarray(values)
    return list((array.astype("datetime64[s]") if array.dtype.kind == "M" else array).tolist())


def _is_missing(value: Any, missing: list[str]) -> bool:
    if isinstance(value, str):
        return value.strip() in missing
    is_na = type(value).__name__ == "NAType"  # of pandas, which cannot be compared
    return value is None or is_na or bool(value != value)  # NaN is not equal to itself


def _number(value: Any) -> float:
    if isinstance(value, str) and not NUMBER.fullmatch(value.strip()):
        raise ValueError(f"{value!r} is not a number")
    number = float(value)
    if not abs(number) <= FLOAT32_MAX:
        raise ValueError(f"{value!r} is not a finite float32")
    return number


def _text(value: Any) -> str:
    """Return a value as mlpkit writes it: 3, 3.0 and "3" are the same text."""
    if isinstance(value, (bool, np.bool_)):
        return str(value).lower()
    text = value.strip() if isinstance(value, str) else str(value)
    whole = WHOLE.fullmatch(text)
    return whole[1] if whole else text


def _level(column: dict[str, Any]) -> Any:
    """Return a function from a value to the place of its level; -1 for a value that training did not have."""
    places = {level: float(place) for place, level in enumerate(column.get("levels", ()))}

    def find(value: Any) -> float:
        text = _text(value)
        if text not in places and NUMBER.fullmatch(text):
            text = _text(float(text))
        if text not in places and "unknown" in column["refuses"]:
            raise ValueError(f"{value!r} is none of {', '.join(places)}")
        return places.get(text, -1.0)

    return find


def _boolean(value: Any) -> float:
    text = _text(value).lower()
    return 1.0 if text in YES else 0.0 if text in NO else 0.5


def _date(column: dict[str, Any]) -> Any:
    """Return a function from a date to its seconds since 1970."""
    form = column.get("format")

    def find(value: Any) -> float:
        if isinstance(value, datetime):
            whole = value.replace(tzinfo=value.tzinfo or UTC)
            return float(math.floor(whole.timestamp()))
        text = value.isoformat() if isinstance(value, date) else str(value).strip()
        iso = ISO_DATE.fullmatch(text)
        if iso is None and form is not None:
            return datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()
        if iso is None:
            raise ValueError(f"{value!r} is not a date such as 2024-01-31")
        hour, minute, second = (int(part or 0) for part in iso.groups()[1:])
        days = int(np.datetime64(iso[1], "D").astype(np.int64))
        return float(days * 86400 + hour * 3600 + minute * 60 + second)

    return find


def _date_part(seconds: Array, name: str) -> Array:
    """Return one component of each date (rows,); NaN for missing dates."""
    known = np.where(np.isnan(seconds), 0, seconds).astype(np.int64)
    days = np.floor_divide(known, 86400).astype("datetime64[D]")
    months = days.astype("datetime64[M]").astype(np.int64)
    found = {
        "days": known / 86400,
        "year": np.floor_divide(months, 12) + 1970.0,
        "month": months % 12 + 1.0,
        "day": (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64) + 1.0,
        "weekday": (days.astype(np.int64) + 3) % 7 + 0.0,  # Monday is 0; 1970-01-01 was a Thursday
        "hour": known % 86400 // 3600 + 0.0,
    }[name]
    return np.where(np.isnan(seconds), np.nan, found)


def _scaled(values: Array, column: dict[str, Any]) -> Array:
    scale = column["scale"]
    if scale["kind"] == "quantile":
        # Interpolate from both sides, so that a value with several quantiles gets the middle of them.
        known = np.array(scale["values"])
        shares = np.linspace(0, 1, len(known))
        share = (np.interp(values, known, shares) - np.interp(-values, -known[::-1], -shares[::-1])) / 2
        return np.array([_normal_quantile(p) for p in share])
    if scale["kind"] == "log":
        values = np.copysign(np.log1p(np.abs(values)), values)
    with np.errstate(over="ignore"):
        scaled: Array = (values - scale["shift"]) / scale["divide_by"]
    if scale["kind"] == "smooth_clip":
        with np.errstate(invalid="ignore"):
            scaled = scaled / np.hypot(1.0, scaled / 3)
    return scaled


def _signed(single: Array, column: dict[str, Any]) -> Array:
    """Return the one feature of two values, which is 0 and 1, or -1 and 1."""
    return 2 * single - 1 if column.get("signed") else single


def _normal_quantile(share: float) -> float:
    if not 0 < share < 1:
        return share if math.isnan(share) else math.copysign(FARTHEST, share - 0.5)
    return min(max(NormalDist().inv_cdf(share), -FARTHEST), FARTHEST)


def _one_hot(column: dict[str, Any], place: Array, missing: Array) -> Iterator[Array]:
    known = np.where(missing, -1, place)
    refused = missing & ("missing" in column["refuses"])
    if len(column["levels"]) == 2 and not column["has_other"]:
        yield _signed(np.where(refused, np.nan, np.where(known < 0, 0.5, known)), column)
        return
    for level in range(len(column["levels"])):
        yield np.where(refused, np.nan, known == level)
    if column["has_other"]:
        yield ((known < 0) & ~missing if column["flags_missing"] else known < 0).astype(np.float64)
