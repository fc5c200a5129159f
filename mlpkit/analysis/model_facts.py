"""What a reader must know of a model: its data, scores, limits and environment, as plain texts and tables.

The model card shows them as Markdown, the report as HTML: whoever shows them escapes them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from mlpkit.config.config import Config
from mlpkit.data.encoder import CategoryColumn, NumberColumn
from mlpkit.data.input_schema import InputSchema
from mlpkit.errors import DataError
from mlpkit.folders.run_folder import RunFolder
from mlpkit.system.console import number

MOST_COLUMNS = 50  # shown
MOST_LEVELS = 20  # of a column that are shown

Scores = Mapping[str, float | str | None]  # by name; a baseline has a text, its own name


@dataclass(frozen=True)
class Rows:
    """A table: the titles of its columns, and its cells."""

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]


@checked(frozen=True)
class Final:
    """What summary.json says of the best weights on the final split, for a run that was trained alone.

    Attributes:
        split: its name.
        intervals: the 95 % interval of each score.
        baseline: the name and the scores of a constant prediction.
        weighted: whether classes have weights, so that training does not aim at the accuracy.
    """

    split: str
    intervals: dict[str, tuple[float, float]]
    baseline: dict[str, str | float]
    weighted: bool = False

    @property
    def baseline_name(self) -> str:
        """What the constant prediction is called."""
        return str(self.baseline.get("name", "baseline"))


def read_or_empty(read: Callable[[RunFolder], dict[str, Any]], folder: RunFolder) -> dict[str, Any]:
    """Return what is read of a run, such as its summary; empty if it cannot be read."""
    with suppress(DataError):
        return read(folder)
    return {}


def final_of(summary: Mapping[str, Any]) -> Final | None:
    """Return what a summary says of the final split; None if it says nothing."""
    with suppress(ValidationError):
        return TypeAdapter(Final).validate_python(summary.get("final"))
    return None


def score_table(scores: Mapping[str, Scores]) -> Rows:
    """Return the scores by what has them, such as a split or a baseline, as a table with a row for each."""
    names = [name for name in dict.fromkeys(name for of in scores.values() for name in of) if name != "name"]
    return Rows(
        ["", *names], [(who, *(_number(of.get(name)) for name in names)) for who, of in scores.items()]
    )


def with_baseline(splits: Mapping[str, Scores], final: Final | None) -> dict[str, Scores]:
    """Return the scores by split, and those of the constant prediction, if they are known."""
    return {**splits} | ({f"{final.baseline_name} on {final.split}": final.baseline} if final else {})


def interval_text(final: Final) -> str:
    """Return the sentence with the intervals."""
    listed = ", ".join(
        f"{name} {number(low)}–{number(high)}" for name, (low, high) in final.intervals.items()
    )
    return f"95 % intervals on {final.split}, of the best weights: {listed}."


def data_texts(config: Config, schema: InputSchema, sizes: Mapping[str, int]) -> Iterator[str]:
    """Yield paragraphs on the data: its name and rows, what is predicted, and from what.

    Args:
        config: of the run.
        schema: the model's.
        sizes: the rows of each split; empty if they are not known.
    """
    rows = ", ".join(f"{size:,} {name}" for name, size in sizes.items())
    files = getattr(config.dataset, "path", None)
    named = f" ({Path(files).name})" if isinstance(files, str) else ""
    yield f"Dataset: {config.dataset.name}{named}." + (f" Rows: {rows}." if rows else "")
    yield f"Predicts {', '.join(schema.targets)}" + (
        f": {', '.join(schema.classes)}." if schema.classes else "."
    )
    if schema.encoder is None:
        shape = " × ".join(str(size) for size in schema.input_shape)
        yield f"Reads {'pictures' if schema.is_image else 'numbers'}, {shape}."


def column_table(schema: InputSchema) -> tuple[Rows, int] | None:
    """Return a table of a raw table's columns, and how many more there are; None if it reads none."""
    if schema.encoder is None:
        return None
    columns = schema.encoder.columns
    rows = [
        (
            spec.column,
            spec.kind,
            ", ".join(spec.levels[:MOST_LEVELS]) + (", …" if len(spec.levels) > MOST_LEVELS else "")
            if isinstance(spec, CategoryColumn)
            else "",
            "flagged" if spec.flags_missing else "",
        )
        for spec in columns[:MOST_COLUMNS]
    ]
    more = max(0, len(columns) - MOST_COLUMNS)
    return Rows(("column", "kind", "values", "missing values"), rows), more


def limits(schema: InputSchema, sizes: Mapping[str, int], is_calibrated: bool) -> Iterator[str]:
    """Yield what the model must not be used for without care, a sentence each."""
    test = f"{sizes['test']:,} test rows" if "test" in sizes else "rows like the training rows"
    yield f"The scores are those of {test}; rows of another origin may score worse."
    yield "Inputs far from the training rows give a prediction all the same; it is not marked."
    if schema.task != "regression" and not is_calibrated:
        yield "The probabilities are the model's own; nothing has calibrated them."
    if schema.encoder is None:
        yield "All inputs are needed: a missing one is refused."
        return
    refused = [
        spec.column
        for spec in schema.encoder.columns
        if (spec.fill is None if isinstance(spec, NumberColumn) else _refuses(spec))
    ]
    if refused:
        yield f"Missing values are refused in: {', '.join(refused)}."
    yield "Other missing values are filled in as in training."
    yield "Categories that the training rows did not have count as other."


def environment_rows(environment: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the names and values of environment.json, flat, without those that are empty."""
    for name, value in environment.items():
        if isinstance(value, dict):
            yield from environment_rows(value)
        elif value not in (None, [], ""):
            yield name, str(value)


def _refuses(spec: Any) -> bool:
    return "missing" in spec.refuses if isinstance(spec, CategoryColumn) else bool(spec.refuses_missing)


def _number(value: str | float | None) -> str:
    return number(value) if isinstance(value, int | float) else ""
