"""Parses one raw column of a table into NumPy arrays: numbers, strings, booleans or dates.

The type in the file does not matter: 3, 3.0 and "3" are the same number and the same string.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute as pc

from mlpkit.config.problems import show, spell
from mlpkit.config.section import FLOAT32_MAX
from mlpkit.data.tables import NUMBER
from mlpkit.errors import DataError

YES = frozenset(("true", "yes", "y", "t", "1"))
NO = frozenset(("false", "no", "n", "f", "0"))

# A day that there is, such as 2024-02-29 but not 2023-02-29, in the syntax that RE2 and Python share.
_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
ISO_DAY = (
    "(?:[0-9]{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    f"|{_LEAP_YEAR}-02-29)"
)

_OTHERWISE = "correct it, or name its form in dataset.columns.{}.format"
WHOLE = r"^([+-]?[0-9]+)\.0+$"

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Locate = Callable[[int], str]


@dataclass(frozen=True)
class RawColumn:
    """A column as it was read.

    Attributes:
        name: its name.
        values: its values, after `mlpkit.data.arrow_table.normalize`.
        source: the name of the table in errors.
        locate: names one of its rows, counted from 0, in errors, such as `houses.csv:17`.
    """

    name: str
    values: pa.ChunkedArray
    source: str
    locate: Locate

    def error(self, row: int, problem: str) -> DataError:
        """Return an error that names the row and the column."""
        return DataError(f"{self.locate(row)}: column {spell(self.name)}: {problem}")

    @cached_property
    def flat(self) -> pa.Array:
        """The values as one array, floats as float64; a column without any value holds strings."""
        values = self.values.combine_chunks()
        if isinstance(values, pa.ChunkedArray):
            values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
        if pa.types.is_null(values.type):
            return values.cast(pa.string())
        return values.cast(pa.float64()) if pa.types.is_floating(values.type) else values

    @property
    def missing(self) -> Flags:
        """Whether the value of each row is missing (rows,)."""
        if not self.flat.null_count:
            return np.zeros(len(self.flat), np.bool_)
        return _to_numpy(pc.is_null(self.flat))

    def value(self, row: int) -> Any:
        """Return the value of a row."""
        return self.flat[row].as_py()

    def numbers(self) -> Floats:
        """Return the numbers (rows,), NaN for missing values.

        Raises:
            DataError: a value is not a finite number; the error names the first one.
        """
        values = self.flat
        if pa.types.is_string(values.type):
            if len(bad := np.flatnonzero(self.unparsed_numbers())):
                raise self.error(
                    int(bad[0]),
                    f"{show(values[bad[0]].as_py())} is not a plain number such as 0.5; correct it, leave it "
                    "empty, or name it in dataset.missing",
                )
            values = pc.replace_substring_regex(values, r"^\+", "").cast(pa.float64())
        elif not is_numeric(values.type):
            raise DataError(
                f"{self.source}: column {spell(self.name)}: has type {values.type}; it must hold numbers"
            )
        elif pa.types.is_boolean(values.type):
            values = values.cast(pa.uint8())
        found: Floats = _to_numpy(values.cast(pa.float64(), safe=False))
        if not fit_float32(found) and len(bad := np.flatnonzero(np.abs(found) > FLOAT32_MAX)):
            value = spell(str(self.flat[int(bad[0])]))
            raise self.error(int(bad[0]), f"{value} is not a finite float32 (at most {FLOAT32_MAX})")
        return found

    def share_of_numbers(self) -> float:
        """Return the share of the non-missing values that are numbers or can be parsed as numbers."""
        if not pa.types.is_string(self.flat.type):
            return float(is_numeric(self.flat.type))
        known = int((~self.missing).sum())
        return 1 - int(self.unparsed_numbers().sum()) / known if known else 0.0

    def unparsed_numbers(self) -> Flags:
        """Whether each row has a string that is not a number (rows,)."""
        return _to_numpy(pc.fill_null(pc.invert(pc.match_substring_regex(self.flat, f"^{NUMBER}$")), False))

    def unparsed_dates(self) -> Flags:
        """Whether each row has a string that is not an ISO 8601 date (rows,)."""
        return _to_numpy(pc.and_(pc.is_null(_read_dates(self.flat, None)), pc.is_valid(self.flat)))

    def texts(self) -> tuple[NDArray[np.int64], list[str]]:
        """Return the values as strings: codes (rows,), -1 for missing, and the list of distinct strings."""
        try:
            encoded = pc.dictionary_encode(self.flat)
            words = encoded.dictionary.cast(pa.string())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            kind = self.flat.type
            raise DataError(
                f"{self.source}: column {spell(self.name)}: has type {kind}, which is not supported; put "
                "it into dataset.ignore"
            ) from None
        indices = _to_numpy(pc.fill_null(encoded.indices.cast(pa.int64()), -1))
        words = pc.replace_substring_regex(words, WHOLE, r"\1").to_pylist()
        found = {word: index for index, word in enumerate(dict.fromkeys(words))}
        renamed = np.array([*(found[word] for word in words), -1], np.int64)
        return renamed[indices], list(found)

    def is_boolean(self) -> bool:
        """Whether all non-missing values are yes and no, in one spelling such as true and false."""
        if pc.count_distinct(self.flat.slice(0, 1000)).as_py() > 20:  # fast exit for long columns
            return False
        lowered = {word.lower() for word in self.texts()[1]}
        return lowered <= YES | NO and len(lowered) <= 2

    def booleans(self) -> tuple[Floats, Flags]:
        """Return 1 for yes, 0 for no and ½ otherwise (rows,), and whether each value is neither."""
        indices, words = self.texts()
        known = [1.0 if w.lower() in YES else 0.0 if w.lower() in NO else np.nan for w in words]
        found = np.array([*known, 0.5])[indices]
        unseen = np.isnan(found)
        return np.where(unseen, 0.5, found), unseen

    def dates(self, form: str | None) -> NDArray[np.datetime64]:
        """Return the dates (rows,), to the second, NaT for missing values.

        Args:
            form: the strptime format of strings; None: ISO 8601.

        Raises:
            DataError: a value is not a date; the error names the first one.
        """
        values = self.flat
        if pa.types.is_integer(values.type) and form is not None:
            values = values.cast(pa.string())
        if pa.types.is_string(values.type):
            read = _read_dates(values, form)
            if len(bad := np.flatnonzero(_to_numpy(pc.and_(pc.is_null(read), pc.is_valid(values))))):
                wanted = (
                    f"of the form {form}"
                    if form
                    else f"such as 2024-01-31; {_OTHERWISE.format(spell(self.name))}"
                )
                raise self.error(int(bad[0]), f"{show(values[bad[0]].as_py())} is not a date {wanted}")
            values = read
        elif not pa.types.is_temporal(values.type):
            raise DataError(
                f"{self.source}: column {spell(self.name)}: has type {values.type}; it must hold dates"
            )
        seconds = values.cast(pa.timestamp("s"), safe=False)
        return _to_numpy(seconds).astype("datetime64[s]")

    def are_dates(self) -> bool:
        """Whether all non-missing values are dates or ISO 8601 strings."""
        values = self.flat
        if pa.types.is_string(values.type):
            few = values.drop_null().slice(0, 20)
            return len(few) > 0 and not _read_dates(few, None).null_count and not self.unparsed_dates().any()
        return bool(pa.types.is_timestamp(values.type) or pa.types.is_date(values.type))


def fit_float32(values: Floats | Flags) -> bool:
    """Whether all numbers are finite and no larger than those of float32; NaN is not."""
    return not len(values) or bool(values.min() >= -FLOAT32_MAX and values.max() <= FLOAT32_MAX)


def is_numeric(kind: pa.DataType) -> bool:
    """Whether a type is a number or a boolean."""
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
    )


def date_part(dates: NDArray[np.datetime64], name: str) -> Floats:
    """Return one component of each date, such as its month (rows,); NaN for missing dates."""
    days = dates.astype("datetime64[D]")
    found: NDArray[Any]
    if name == "days":
        found = (dates - np.datetime64(0, "s")) / np.timedelta64(1, "D")
    elif name == "year":
        found = dates.astype("datetime64[Y]").astype(np.int64) + 1970.0
    elif name == "month":
        found = dates.astype("datetime64[M]").astype(np.int64) % 12 + 1.0
    elif name == "day":
        found = (days - dates.astype("datetime64[M]").astype("datetime64[D]")) / np.timedelta64(1, "D") + 1
    elif name == "weekday":  # Monday is 0; 1970-01-01 was a Thursday
        found = (days.astype(np.int64) + 3) % 7 + 0.0
    else:
        found = (dates - days).astype("timedelta64[h]").astype(np.int64) + 0.0
    return np.where(np.isnat(dates), np.nan, found.astype(np.float64))


def _read_dates(values: pa.Array, form: str | None) -> pa.Array:
    """Parse strings into timestamps, null for a string that is not a date.

    Arrow reads February 30 as March 1 or 2.
    """
    if form is not None:
        read = pc.strptime(values, format=form, unit="s", error_is_null=True)
        early = values.filter(pc.less_equal(pc.day(read), 3)).unique()
        wrong = pa.array([text for text in early.to_pylist() if not _is_date(text, form)], values.type)
        return pc.if_else(pc.is_in(values, wrong), None, read)
    tidy = pc.replace_substring_regex(values, r"^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)$", r"\1T\2:00")
    tidy = pc.replace_substring_regex(tidy, r"^(\d{4}-\d\d-\d\d)$", r"\1T00:00:00")
    tidy = pc.replace_substring_regex(tidy, r"^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)", r"\1T\2")
    tidy = pc.replace_substring_regex(tidy, r"(\.\d+)?(Z|\+00:00)?$", "")
    read = pc.strptime(tidy, format="%Y-%m-%dT%H:%M:%S", unit="s", error_is_null=True)
    return pc.if_else(pc.match_substring_regex(tidy, f"^{ISO_DAY}"), read, None)


def _is_date(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)
    except ValueError:
        return False
    return True


def _to_numpy(values: pa.Array) -> NDArray[Any]:
    found: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return found
