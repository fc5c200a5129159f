"""Infers the kind of each column of a table from the training rows, and says why."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlpkit.config.problems import did_you_mean, plural, show, spell
from mlpkit.data.column_settings import ColumnSettings
from mlpkit.data.column_values import RawColumn, is_numeric
from mlpkit.errors import ConfigError

FEW = 10  # up to so many distinct integers are codes of a category rather than amounts,
ROWS_OF_A_CODE = 20  # if each of them has so many rows on average
FEW_TEXTS = 20  # up to so many distinct strings are a category, however few rows there are
MOSTLY = 0.9  # a column of strings with a larger share of numbers (or dates) was probably meant as such

ENCODED = ("number", "category", "boolean", "date")

_KEY = re.compile(r"(^|[_\W])(id|uuid|guid|index|rownames?)$|[a-z]I[dD]$|^unnamed", re.IGNORECASE)


@dataclass(frozen=True)
class ColumnKind:
    """The kind of a column.

    Attributes:
        name: name of the column.
        kind: number, category, boolean or date; or identifier, constant, text or unknown, which are left out.
        reason: why the column has this kind.
        warns: whether the reason is printed as a warning.
        is_guess: whether another kind is just as likely.
    """

    name: str
    kind: str
    reason: str
    warns: bool = False
    is_guess: bool = False

    @property
    def is_encoded(self) -> bool:
        """Whether it becomes features."""
        return self.kind in ENCODED


def infer_columns(
    columns: Sequence[RawColumn], settings: Mapping[str, ColumnSettings], rows: NDArray[np.int64]
) -> list[ColumnKind]:
    """Return the kind of each column.

    Args:
        columns: the columns, with the training rows only.
        settings: the user's settings, by column.
        rows: the indices of the training rows in the file.

    Raises:
        ConfigError: a setting names a column that does not exist.
    """
    names = [column.name for column in columns]
    if unknown := next((name for name in settings if name not in names), None):
        raise ConfigError(
            f"dataset.columns.{spell(unknown)}: no such column among the inputs"
            f"{did_you_mean(unknown, names) or f'; there is {_listed(names)}'}"
        )
    found = []
    for column in columns:
        chosen = settings[column.name].type if column.name in settings else "auto"
        known = ColumnKind(column.name, chosen, "as dataset.columns says")
        found.append(_infer(column, rows) if chosen == "auto" else known)
    return found


def _infer(column: RawColumn, rows: NDArray[np.int64]) -> ColumnKind:
    """Return the kind of one column."""

    def is_a(kind: str, reason: str, warns: bool = False) -> ColumnKind:
        return ColumnKind(column.name, kind, reason, warns, is_guess=warns)

    kind, missing = column.flat.type, column.missing
    if not column.name.strip() or not column.name.isprintable():
        return is_a("identifier", "its name is empty or not printable")
    if missing.all():
        return is_a("constant", "no training row has a value")
    known = len(missing) - int(missing.sum())
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return is_a("date", "dates")
    if not (is_numeric(kind) or pa.types.is_string(kind)):
        return is_a("unknown", f"values of type {kind} are not read", warns=True)
    _, words = column.texts()
    if len(words) == 1 and not missing.any():
        return is_a("constant", f"it is always {show(words[0])}")
    if column.is_boolean():
        return is_a("boolean", "yes and no")
    if is_numeric(kind):
        return _infer_numeric(column, words, known, rows)
    if column.are_dates():
        return is_a("date", "dates in the form of ISO 8601")
    if column.share_of_numbers() == 1:  # numbers read as strings, since a row of another split has text
        return _infer_numeric(column, words, known, rows)
    unparsed = describe_unparsed(column)
    if len(words) > FEW_TEXTS and len(words) == known:
        return is_a(
            "identifier", f"{known:,} different texts in {known:,} training rows{unparsed}", bool(unparsed)
        )
    if len(words) > FEW_TEXTS and 2 * len(words) > known:
        return is_a("text", f"{len(words):,} different texts in {known:,} rows{unparsed}", warns=True)
    return is_a("category", f"{len(words):,} different texts{unparsed}", bool(unparsed))


def _infer_numeric(
    column: RawColumn, words: Sequence[str], known: int, rows: NDArray[np.int64]
) -> ColumnKind:
    numbers = column.numbers()
    known_numbers = numbers[~np.isnan(numbers)]
    if (known_numbers != np.round(known_numbers)).any():
        return ColumnKind(column.name, "number", "numbers with decimals")
    if len(words) == known == len(numbers) and known > 2:
        if (numbers - rows == numbers[0] - rows[0]).all():
            return ColumnKind(column.name, "identifier", "it counts the rows")
        if _KEY.search(column.name):
            return ColumnKind(column.name, "identifier", f"each of {known:,} values differs, and by its name")
    if 2 < len(words) <= FEW and known >= ROWS_OF_A_CODE * len(words):
        return ColumnKind(column.name, "category", f"only {len(words)} different integers", is_guess=True)
    return ColumnKind(column.name, "number", "integers", is_guess=2 < len(words) <= FEW)


def describe_unparsed(column: RawColumn) -> str:
    """Name the first value that keeps a column from being numbers or dates; empty unless most values are."""
    known = int((~column.missing).sum())
    for what, unparsed in (("numbers", column.unparsed_numbers()), ("dates", column.unparsed_dates())):
        share = 1 - int(unparsed.sum()) / known
        if MOSTLY < share < 1:
            row = int(np.flatnonzero(unparsed)[0])
            value = show(column.flat[row].as_py())
            return (
                f"; {int(100 * share)}% are {what}, the first other value is {value} at "
                f"{column.locate(row)}: name such texts in dataset.missing, or correct them"
            )
    return ""


def describe_columns(kinds: Sequence[ColumnKind]) -> list[str]:
    """Return lines that list the columns of each kind, and the columns that are left out and why."""
    lines = []
    taken = {kind: [column.name for column in kinds if column.kind == kind] for kind in ENCODED}
    parts = [f"{plural(len(names), kind)} ({_listed(names)})" for kind, names in taken.items() if names]
    lines.append(f"columns: {', '.join(parts)}")
    for column in kinds:
        if not column.is_encoded:
            advice = {
                "text": "; free text is not read: turn it into categories or numbers",
                "identifier": f"; dataset.columns.{spell(column.name)}.type=category keeps it",
            }.get(column.kind, "")
            lines.append(f"left out {spell(column.name)} ({column.kind}): {column.reason}{advice}")
        elif column.warns:
            lines.append(f"column {spell(column.name)} ({column.kind}): {column.reason}")
    return lines


def _listed(names: Sequence[str]) -> str:
    shown = [spell(name) for name in names]
    return ", ".join(shown if len(shown) <= 6 else [*shown[:5], "…"])
