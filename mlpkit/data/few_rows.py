"""A few rows of JSON as Python's values, encoded without Arrow.

Arrow's arrays are fast for many rows; for one, to make and to clean them takes longer than to encode it. Only
what is ordinary is read here: the columns of the model and no others, with values of their kinds. The full
reader reads all else, and says what is wrong with it.
"""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpkit.config.section import FLOAT32_MAX
from mlpkit.data.column_values import ISO_DAY, WHOLE, Flags, Floats, Locate, RawColumn
from mlpkit.data.encode import ColumnIssues, Encoded, encode_columns
from mlpkit.data.encoder import Column, DateColumn, NumberColumn, TableEncoder
from mlpkit.data.json_table import FEW, may_be_date, reject_repeated_keys

LARGEST_WHOLE = 1 << 53  # up to which float64 holds every whole number

_DAY = re.compile(f"(?!0){ISO_DAY}")
_WHOLE = re.compile(WHOLE)

Value = bool | int | float | str | None


@dataclass(frozen=True)
class FewRows:
    """A few rows.

    Attributes:
        columns: the values by column, in the encoder's order; texts are stripped, and missing values None.
    """

    columns: dict[str, list[Value]]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(next(iter(self.columns.values())))

    @staticmethod
    def joined(parts: "Sequence[FewRows]") -> "FewRows":
        """Return the rows of several parts as one."""
        return FewRows(
            {name: [value for part in parts for value in part.columns[name]] for name in parts[0].columns}
        )

    def encode(self, encoder: TableEncoder, source: str, locate: Locate) -> Encoded:
        """Encode the rows as `mlpkit.data.encode.encode` does.

        Raises:
            DataError: the encoder cannot encode a value.
        """
        features = np.empty((len(self), encoder.width), np.float32)
        raw = (FewValues(name, values, source, locate) for name, values in self.columns.items())
        issues = ColumnIssues.summed(encode_columns(encoder, raw, features))
        return Encoded(features, issues)


def read_few(content: bytes, encoder: TableEncoder, missing: Collection[str]) -> FewRows | None:
    """Return the rows of a JSON document; None if only the full reader can say what they are.

    Args:
        content: a list of objects, or one object.
        encoder: of the columns.
        missing: texts that stand for a missing value.
    """
    try:
        found = json.loads(content.decode(), object_pairs_hook=reject_repeated_keys)
        rows = found if isinstance(found, list) else [found]
        names = {spec.column for spec in encoder.columns}
        if not 0 < len(rows) <= FEW or not all(isinstance(row, dict) and row.keys() == names for row in rows):
            return None
        columns: dict[str, list[Value]] = {}
        for spec in encoder.columns:
            values = [row[spec.column] for row in rows]
            if not _is_ordinary(spec, values):
                return None
            columns[spec.column] = [
                _tidy(value, missing) if isinstance(value, str) else value for value in values
            ]
    except (ValueError, RecursionError):
        return None
    return FewRows(columns)


def _is_ordinary(spec: Column, values: Sequence[Any]) -> bool:
    """Whether the values are of one kind that the column has."""
    known = [value for value in values if value is not None]
    kinds = {type(value) for value in known}
    if kinds == {str}:
        if isinstance(spec, DateColumn):
            return all(map(_DAY.fullmatch, known))
        return not isinstance(spec, NumberColumn) and not any(map(may_be_date, known))
    if isinstance(spec, DateColumn):
        return not kinds
    if float in kinds and not isinstance(spec, NumberColumn):
        return False
    if kinds <= {int, float}:
        return all(abs(value) <= (LARGEST_WHOLE if type(value) is int else FLOAT32_MAX) for value in known)
    return kinds == {bool}


def _tidy(text: str, missing: Collection[str]) -> str | None:
    text.encode()  # refuses halves of surrogate pairs
    stripped = text.strip()
    return None if stripped in missing else stripped


class FewValues(RawColumn):
    """A column of which `values` is a list of Python's values."""

    @property
    def missing(self) -> Flags:
        """Whether the value of each row is missing (rows,)."""
        return np.array([value is None for value in self.values])

    def numbers(self) -> Floats:
        """Return the numbers (rows,), NaN for missing values."""
        return np.array([np.nan if value is None else float(value) for value in self.values])

    def texts(self) -> tuple[NDArray[np.int64], list[str]]:
        """Return the values as strings: codes (rows,), -1 for missing, and the list of distinct strings."""
        words: dict[str, int] = {}
        codes = [-1 if value is None else words.setdefault(_text(value), len(words)) for value in self.values]
        return np.array(codes, np.int64), list(words)

    def dates(self, form: str | None) -> NDArray[np.datetime64]:
        """Return the dates (rows,), to the second, NaT for missing values."""
        return np.array(["NaT" if value is None else value for value in self.values], "datetime64[s]")

    def value(self, row: int) -> Value:
        """Return the value of a row."""
        found: Value = self.values[row]
        return found


def _text(value: bool | int | str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _WHOLE.sub(r"\1", value) if isinstance(value, str) else str(value)
