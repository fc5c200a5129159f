"""The fitted encoder of a table: plain data that says how raw columns become the numbers that a model reads.

It is fitted on training rows (`mlpkit.data.fit_encoder`), applied by `mlpkit.data.encode`, and travels in the
checkpoint as JSON, which may be anybody's: every size is bounded and every number finite.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from mlpkit.data.table_options import MOST_LEVELS, DatePart

MOST_COLUMNS = 10_000
MOST_FEATURES = 1_000_000

_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

Number = Annotated[float, Field(ge=-1e300, le=1e300)]
Divisor = Annotated[float, Field(gt=0, le=1e300)]


def _printable(name: str) -> str:
    """Refuse what a terminal would obey rather than show."""
    if not name.isprintable():
        raise ValueError("not printable")
    return name


Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_printable)]
Level = Annotated[str, StringConstraints(max_length=1000)]


@dataclass(frozen=True, config=_STRICT)
class Linear:
    """(x - shift) / divide_by."""

    shift: Number = 0.0
    divide_by: Divisor = 1.0
    kind: Literal["linear"] = "linear"


@dataclass(frozen=True, config=_STRICT)
class Log:
    """(sign(x) log(1 + |x|) - shift) / divide_by."""

    shift: Number
    divide_by: Divisor
    kind: Literal["log"] = "log"


@dataclass(frozen=True, config=_STRICT)
class Quantile:
    """The normal distribution's value at the share of training rows below x.

    Attributes:
        values: of the training rows, at equal steps from the smallest to the largest.
    """

    values: Annotated[tuple[Number, ...], Field(min_length=2, max_length=1000)]
    kind: Literal["quantile"] = "quantile"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(low > high for low, high in zip(self.values, self.values[1:], strict=False)):
            raise ValueError("the quantiles do not ascend")
        return self


Scale = Annotated[Linear | Log | Quantile, Field(discriminator="kind")]


@dataclass(frozen=True, config=_STRICT)
class NumberColumn:
    """A column of numbers.

    Attributes:
        column: its name.
        fill: what stands for a missing value; None: a missing value is an error.
        scale: how values are scaled.
        flags_missing: whether a feature says that the value is missing.
    """

    column: Name
    fill: Number | None
    scale: Scale
    flags_missing: bool = False
    kind: Literal["number"] = "number"

    def features(self) -> list[str]:
        """Return the names of the features that it becomes."""
        return [self.column, *_flag(self)]


@dataclass(frozen=True, config=_STRICT)
class CategoryColumn:
    """A column of names, one-hot encoded; two names and nothing else become one feature.

    Attributes:
        column: its name.
        levels: the values that have a feature of their own, as text.
        has_other: whether a feature says that the value is another one, as rare ones in training were.
        flags_missing: whether a feature says that the value is missing; else it counts as another one.
        refuses: missing, unknown: what is an error instead.
    """

    column: Name
    levels: Annotated[tuple[Level, ...], Field(min_length=1, max_length=MOST_LEVELS)]
    has_other: bool = False
    flags_missing: bool = False
    refuses: Annotated[tuple[Literal["missing", "unknown"], ...], Field(max_length=2)] = ()
    kind: Literal["category"] = "category"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.levels)) < len(self.levels):
            raise ValueError("a level stands twice")
        return self

    @property
    def is_single(self) -> bool:
        """Whether two levels share one feature: 0 for the first, 1 for the second, ½ for neither."""
        return len(self.levels) == 2 and not self.has_other

    def features(self) -> list[str]:
        """Return the names of the features that it becomes."""
        own = self.levels[1:] if self.is_single else self.levels
        other = [f"{self.column} other"] if self.has_other else []
        return [*(f"{self.column}={level}" for level in own), *other, *_flag(self)]


@dataclass(frozen=True, config=_STRICT)
class BooleanColumn:
    """A column of yes and no, in one of the spellings of `mlpkit.data.column_values`; ½ is neither."""

    column: Name
    refuses_missing: bool = False
    flags_missing: bool = False
    kind: Literal["boolean"] = "boolean"

    def features(self) -> list[str]:
        """Return the names of the features that it becomes."""
        return [self.column, *_flag(self)]


@dataclass(frozen=True, config=_STRICT)
class DateFeature:
    """A number that is made of a date."""

    name: DatePart
    scale: Linear


@dataclass(frozen=True, config=_STRICT)
class DateColumn:
    """A column of dates; a missing one is the mean of the training rows.

    Attributes:
        column: its name.
        parts: the numbers that are made of a date.
        format: how texts are read; None: ISO 8601.
        refuses_missing: whether a missing date is an error.
        flags_missing: whether a feature says that the date is missing.
    """

    column: Name
    parts: Annotated[tuple[DateFeature, ...], Field(min_length=1, max_length=6)]
    format: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    refuses_missing: bool = False
    flags_missing: bool = False
    kind: Literal["date"] = "date"

    def features(self) -> list[str]:
        """Return the names of the features that it becomes."""
        return [*(f"{self.column} {part.name}" for part in self.parts), *_flag(self)]


Column = NumberColumn | CategoryColumn | BooleanColumn | DateColumn
_Columns = Annotated[
    tuple[Annotated[Column, Field(discriminator="kind")], ...],
    Field(min_length=1, max_length=MOST_COLUMNS),
]


@dataclass(frozen=True, config=_STRICT)
class TableEncoder:
    """How the columns of a raw table become features, in this order."""

    columns: _Columns

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [column.column for column in self.columns]
        if len(set(names)) < len(names):
            raise ValueError("a column stands twice")
        if sum(len(column.features()) for column in self.columns) > MOST_FEATURES:
            raise ValueError("too many features")
        return self

    @property
    def width(self) -> int:
        """The number of features."""
        return sum(len(column.features()) for column in self.columns)

    def features(self) -> tuple[str, ...]:
        """Return the names of the features: printable, of bearable length, each once."""
        names: dict[str, None] = {}
        for name in (name for column in self.columns for name in column.features()):
            shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
            shown = shown if len(shown) <= 120 else f"{shown[:119]}…"
            names[next(text for text in _numbered(shown) if text not in names)] = None
        return tuple(names)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        plain: dict[str, Any] = TypeAdapter(TableEncoder).dump_python(self, mode="json")
        return plain


def _flag(column: Column) -> list[str]:
    return [f"{column.column} missing"] if column.flags_missing else []


def _numbered(name: str) -> Iterator[str]:
    """Yield the name, and then `name (2)`, `name (3)`, …"""
    yield name
    number = 2
    while True:
        yield f"{name} ({number})"
        number += 1
