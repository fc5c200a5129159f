"""The fitted encoder of a table: how each raw column becomes features.

`mlpkit.data.fit_encoder` fits it on training rows, and `mlpkit.data.encode` applies it. It is stored in the
checkpoint as JSON. A checkpoint may come from anybody, so sizes are bounded and numbers finite.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from mlpkit.data.column_settings import MOST_LEVELS, DatePart

MOST_COLUMNS = 10_000
MOST_FEATURES = 1_000_000

_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

Number = Annotated[float, Field(ge=-1e300, le=1e300)]
Divisor = Annotated[float, Field(gt=0, le=1e300)]


def _printable(name: str) -> str:
    """Refuse names with control characters, which a terminal would interpret."""
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
    """Φ⁻¹ of the share of training rows below x, as in scikit-learn's QuantileTransformer.

    Attributes:
        values: evenly spaced quantiles of the training rows, from the minimum to the maximum.
    """

    values: Annotated[tuple[Number, ...], Field(min_length=2, max_length=1000)]
    kind: Literal["quantile"] = "quantile"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(low > high for low, high in zip(self.values, self.values[1:], strict=False)):
            raise ValueError("the quantiles do not ascend")
        return self


@dataclass(frozen=True, config=_STRICT)
class SmoothClip:
    """v / √(1 + (v / 3)²) for v = (x - shift) / divide_by: near 0 it is v, and outliers come near to ±3."""

    shift: Number
    divide_by: Divisor
    kind: Literal["smooth_clip"] = "smooth_clip"


Scale = Linear | Log | Quantile | SmoothClip


@dataclass(frozen=True, config=_STRICT)
class NumberColumn:
    """A column of numbers.

    Attributes:
        column: its name.
        fill: the value that replaces missing ones; None: a missing value is an error.
        scale: how values are scaled.
        flags_missing: whether an extra feature is 1 where the value is missing.
    """

    column: Name
    fill: Number | None
    scale: Annotated[Scale, Field(discriminator="kind")]
    flags_missing: bool = False
    kind: Literal["number"] = "number"

    def features(self) -> list[str]:
        """Return the names of the features that it becomes."""
        return [self.column, *_flag(self)]


@dataclass(frozen=True, config=_STRICT)
class CategoryColumn:
    """A column of categories, one-hot encoded; two categories without `other` become one feature.

    Attributes:
        column: its name.
        levels: the categories, as strings; each has its own feature.
        has_other: whether an `other` feature stands for all other values, such as rare ones.
        flags_missing: whether an extra feature is 1 where the value is missing; if not, missing counts as
            other.
        refuses: the values that are errors: missing, unknown or both.
        signed: whether the one feature of two categories is -1, 1 or 0, not 0, 1 or ½.
    """

    column: Name
    levels: Annotated[tuple[Level, ...], Field(min_length=1, max_length=MOST_LEVELS)]
    has_other: bool = False
    flags_missing: bool = False
    refuses: Annotated[tuple[Literal["missing", "unknown"], ...], Field(max_length=2)] = ()
    signed: bool = False
    kind: Literal["category"] = "category"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.signed and not self.is_single:
            raise ValueError("only two categories without others are signed")
        if len(set(self.levels)) < len(self.levels):
            raise ValueError("a level appears twice")
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
    """A column of yes and no, in one of the spellings of `mlpkit.data.column_values`; ½ is neither.

    With `signed` it is 1, -1 or 0.
    """

    column: Name
    refuses_missing: bool = False
    flags_missing: bool = False
    signed: bool = False
    kind: Literal["boolean"] = "boolean"

    def features(self) -> list[str]:
        """Return the names of the features that it becomes."""
        return [self.column, *_flag(self)]


@dataclass(frozen=True, config=_STRICT)
class DateFeature:
    """One feature of a date, such as its month, and how it is scaled."""

    name: DatePart
    scale: Linear


@dataclass(frozen=True, config=_STRICT)
class DateColumn:
    """A column of dates; the features of a missing date are the means of the training rows.

    Attributes:
        column: its name.
        parts: the features that a date becomes.
        format: the strptime format of strings; None: ISO 8601.
        refuses_missing: whether a missing date is an error.
        flags_missing: whether an extra feature is 1 where the date is missing.
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
            raise ValueError("a column appears twice")
        if sum(len(column.features()) for column in self.columns) > MOST_FEATURES:
            raise ValueError("too many features")
        return self

    @property
    def width(self) -> int:
        """The number of features."""
        return sum(len(column.features()) for column in self.columns)

    def numbers(self) -> tuple[int, ...]:
        """Return the places of the features that are numbers, or parts of a date."""
        found, start = list[int](), 0
        for column in self.columns:
            stop = start + len(column.features())
            if isinstance(column, NumberColumn | DateColumn):
                found += range(start, stop - column.flags_missing)
            start = stop
        return tuple(found)

    def features(self) -> tuple[str, ...]:
        """Return the names of the features: printable, shortened and unique."""
        names: dict[str, None] = {}
        for name in (name for column in self.columns for name in column.features()):
            shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
            shown = shown if len(shown) <= 120 else f"{shown[:119]}…"
            names[next(text for text in _numbered(shown) if text not in names)] = None
        return tuple(names)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; newer keys only where needed, so that older versions can read it."""
        plain: dict[str, Any] = TypeAdapter(TableEncoder).dump_python(self, mode="json")
        for column in plain["columns"]:
            if column.get("signed") is False:
                del column["signed"]
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
