"""Settings of a table's columns: how each is encoded."""

from typing import Literal

from pydantic import Field

from mlpkit.config.section import Count, Section

DatePart = Literal["year", "month", "day", "weekday", "hour", "days"]

Scaled = Literal["standard", "robust", "smooth_clip", "quantile", "log", "minmax", "none"]

MOST_LEVELS = 10_000  # of a category


class ColumnSettings(Section):
    """How one column is encoded."""

    type: Literal["auto", "number", "category", "boolean", "date"] = Field(
        "auto", description="kind of the column; auto: inferred from the training rows"
    )
    missing: float | Literal["median", "mean", "refuse"] = Field(
        "median",
        description="number: what replaces a missing value; refuse (any column): a missing value is an error",
    )
    scale: Scaled | Literal["auto"] = Field(
        "auto",
        description="number: how it is scaled; auto: dataset.scale with dataset.standardize, else none",
    )
    min_count: Count = Field(1, description="category: values in fewer training rows count as `other`")
    max_levels: int = Field(
        100,
        ge=1,
        le=MOST_LEVELS,
        description="category: most values that are kept; rarer ones count as `other`",
    )
    unknown: Literal["other", "refuse"] = Field(
        "other", description="category: whether a value not seen in training counts as `other` or is an error"
    )
    format: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="date: its format, such as %d/%m/%Y; null: ISO 8601",
    )
    parts: tuple[DatePart, ...] = Field(
        ("year", "month", "weekday", "days"),
        min_length=1,
        strict=False,
        description="date: its features; days are counted from 1970",
    )
