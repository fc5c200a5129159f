"""Finds out what each column of a table holds, from the training rows alone, and says why."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlpkit.config.problems import did_you_mean, show, spell
from mlpkit.data.column_values import RawColumn, is_numeric
from mlpkit.data.table_options import ColumnSettings
from mlpkit.errors import ConfigError

FEW = 10  # different integers that are taken for codes rather than amounts
ROWS_OF_A_CODE = 20  # that each of them has on average
FEW_TEXTS = 20  # different texts that are a category, however few rows there are
MOSTLY = 0.9  # share of numbers or dates above which a column of texts looks like one of these

ENCODED = ("number", "category", "boolean", "date")

_KEY = re.compile(r"(^|[_\W])(id|uuid|guid|index|rownames?)$|[a-z]I[dD]$|^unnamed", re.IGNORECASE)


@dataclass(frozen=True)
class ColumnKind:
    """What a column holds.

    Attributes:
        name: of the column.
        kind: number, category, boolean or date; else it is left out: identifier, constant, text or unknown.
        reason: why it is taken for that.
        warns: whether the reason should be told.
        is_guess: whether it could as well be another kind.
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
    """Return what columns hold.

    Args:
        columns: with the training rows.
        settings: what the user says, by column.
        rows: the numbers of the training rows in the file.

    Raises:
        ConfigError: the user's settings name a column that is not there.
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
    """Return what one column holds."""

    def of(kind: str, reason: str, warns: bool = False) -> ColumnKind:
        return ColumnKind(column.name, kind, reason, warns, is_guess=warns)

    kind, missing = column.flat.type, column.missing
    if not column.name.strip() or not column.name.isprintable():
        return of("identifier", "it has no name that can be printed")
    if missing.all():
        return of("constant", "no training row has a value")
    known = len(missing) - int(missing.sum())
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return of("date", "dates")
    if not (is_numeric(kind) or pa.types.is_string(kind)):
        return of("unknown", f"values of type {kind} are not read", warns=True)
    _, words = column.texts()
    if len(words) == 1 and not missing.any():
        return of("constant", f"it is always {show(words[0])}")
    if column.is_boolean():
        return of("boolean", "yes and no")
    if is_numeric(kind):
        return _of_numbers(column, words, known, rows)
    if column.are_dates():
        return of("date", "dates in the form of ISO 8601")
    if column.share_of_numbers() == 1:  # as where a row that is not trained on has another text
        return _of_numbers(column, words, known, rows)
    odd = describe_unparsed(column)
    if len(words) > FEW_TEXTS and len(words) == known:
        return of("identifier", f"each of {known:,} texts differs{odd}", bool(odd))
    if len(words) > FEW_TEXTS and 2 * len(words) > known:
        return of("text", f"{len(words):,} different texts in {known:,} rows{odd}", warns=True)
    return of("category", f"{len(words):,} different texts{odd}", bool(odd))


def _of_numbers(column: RawColumn, words: Sequence[str], known: int, rows: NDArray[np.int64]) -> ColumnKind:
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
    """Return which text makes a column that is mostly numbers or dates one of texts; empty for others."""
    known = int((~column.missing).sum())
    for what, odd in (("numbers", column.unparsed_numbers()), ("dates", column.unparsed_dates())):
        share = 1 - int(odd.sum()) / known
        if MOSTLY < share < 1:
            row = int(np.flatnonzero(odd)[0])
            value = show(column.flat[row].as_py())
            return (
                f"; {int(100 * share)}% are {what}, the first that is none is {value} at "
                f"{column.where(row)}: name such texts in dataset.missing, or correct them"
            )
    return ""


def describe_columns(kinds: Sequence[ColumnKind]) -> list[str]:
    """Return a few lines that say what was found, and what is left out and why."""
    lines = []
    taken = {kind: [column.name for column in kinds if column.kind == kind] for kind in ENCODED}
    plural = {"number": "numbers", "category": "categories", "boolean": "booleans", "date": "dates"}
    parts = [f"{len(names)} {plural[kind]} ({_listed(names)})" for kind, names in taken.items() if names]
    lines.append(f"columns: {', '.join(parts)}")
    for column in kinds:
        if not column.is_encoded:
            advice = {
                "text": "; text is not read: make a category or numbers of it",
                "identifier": f"; dataset.columns.{spell(column.name)}.type=category takes it",
            }.get(column.kind, "")
            lines.append(f"left out {spell(column.name)} ({column.kind}): {column.reason}{advice}")
        elif column.warns:
            lines.append(f"column {spell(column.name)} ({column.kind}): {column.reason}")
    return lines


def _listed(names: Sequence[str]) -> str:
    shown = [spell(name) for name in names]
    return ", ".join(shown if len(shown) <= 6 else [*shown[:5], "…"])
