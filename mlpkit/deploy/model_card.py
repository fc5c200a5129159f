"""The model card: what a reader must know of a model before using it, as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpkit.config import yaml_file
from mlpkit.config.config import to_dict
from mlpkit.data.encoder import CategoryColumn, NumberColumn
from mlpkit.data.input_schema import InputSchema
from mlpkit.deploy.card_scores import CardScores
from mlpkit.deploy.format import Source
from mlpkit.errors import DataError
from mlpkit.folders.find_run import run_of
from mlpkit.folders.run_folder import RunFolder
from mlpkit.models.torch_network import count_parameters
from mlpkit.system.console import number
from mlpkit.system.plain_json import read_object

MOST_COLUMNS = 50  # shown


def model_card(source: Source, paths: Sequence[Path], sizes: Mapping[str, int], scores: CardScores) -> str:
    """Return the model card.

    Args:
        source: the model.
        paths: the checkpoints of its members.
        sizes: the rows of each split; empty if the data is not there any more.
        scores: of the model.
    """
    environment = _read(RunFolder(run_of(paths[0])).environment)
    parts = [
        f"# {_text(source.title)}",
        *_about(source, paths),
        "## Data",
        *_data(source, sizes),
        "## Scores",
        *_scores(scores),
        "## Limits",
        "\n".join(_limits(source.schema, sizes)),
        "## Config",
        "That of the first member." if len(paths) > 1 else "",
        f"```yaml\n{yaml_file.dump(to_dict(source.config)).strip()}\n```",
        "## Environment",
        _table(("", ""), list(_flat(environment))) if environment else "It is not known.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except DataError:
        return {}


def _about(source: Source, paths: Sequence[Path]) -> Iterator[str]:
    parameters = count_parameters(source.predictor.network)
    members = f"An ensemble of {len(paths)} models, each of" if len(paths) > 1 else "It has"
    yield f"{members} {parameters:,} parameters. Task: {source.schema.task}."
    if source.has_threshold:
        what = _text(source.schema.classes[1]) if source.schema.classes else "a label"
        yield f"It says {what} where the probability is above {source.threshold:g}."


def _data(source: Source, sizes: Mapping[str, int]) -> Iterator[str]:
    schema = source.schema
    rows = ", ".join(f"{size:,} {name}" for name, size in sizes.items())
    files = getattr(source.config.dataset, "path", None)
    named = f" ({_text(Path(files).name)})" if isinstance(files, str) else ""
    yield f"Dataset: {_text(source.config.dataset.name)}{named}. " + (
        f"Rows: {rows}." if rows else "The data was not there when this card was written."
    )
    yield f"Predicts {', '.join(map(_text, schema.targets))}" + (
        f": {', '.join(map(_text, schema.classes))}." if schema.classes else "."
    )
    if schema.encoder is None:
        shape = " × ".join(str(size) for size in schema.input_shape)
        yield f"Reads {'pictures' if schema.is_image else 'numbers'}, {shape}."
        return
    columns = schema.encoder.columns
    rows_of_table = [
        (
            spec.column,
            spec.kind,
            ", ".join(spec.levels[:20]) + (", …" if len(spec.levels) > 20 else "")
            if isinstance(spec, CategoryColumn)
            else "",
            "flagged" if spec.flags_missing else "",
        )
        for spec in columns[:MOST_COLUMNS]
    ]
    yield _table(("column", "kind", "values", "missing values"), rows_of_table)
    if len(columns) > MOST_COLUMNS:
        yield f"And {len(columns) - MOST_COLUMNS} more columns; manifest.json has them all."


def _scores(scores: CardScores) -> Iterator[str]:
    yield scores.about
    if scores.rows:
        names = [name for name in next(iter(scores.rows.values())) if name != "name"]
        rows = [(who, *(_number(of.get(name)) for name in names)) for who, of in scores.rows.items()]
        yield _table(("", *names), rows)
    yield scores.note


def _number(value: str | float | None) -> str:
    return number(value) if isinstance(value, int | float) else ""


def _limits(schema: InputSchema, sizes: Mapping[str, int]) -> Iterator[str]:
    test = f"{sizes['test']:,} test rows" if "test" in sizes else "rows like the training rows"
    yield f"- The scores are those of {test}; rows of another origin may score worse."
    yield "- Inputs far from the training rows give a prediction all the same; it is not marked."
    if schema.task != "regression":
        yield "- The probabilities are the model's own; nothing has calibrated them."
    if schema.encoder is None:
        yield "- All inputs are needed: a missing one is refused."
        return
    refused = [
        spec.column
        for spec in schema.encoder.columns
        if (spec.fill is None if isinstance(spec, NumberColumn) else _refuses(spec))
    ]
    if refused:
        yield f"- Missing values are refused in: {', '.join(map(_text, refused))}."
    yield "- Other missing values are filled in as in training."
    yield "- Categories that the training rows did not have count as other."


def _refuses(spec: Any) -> bool:
    return "missing" in spec.refuses if isinstance(spec, CategoryColumn) else bool(spec.refuses_missing)


def _flat(environment: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in environment.items():
        if isinstance(value, dict):
            yield from _flat(value)
        elif value not in (None, [], ""):
            yield name, str(value)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_text(str(cell)) for cell in line)} |" for line in lines)


def _text(text: str) -> str:
    """Return text that Markdown shows as it is."""
    escaped = "".join(f"\\{c}" if c in "\\`*_{}[]<>#|" else c for c in text)
    return " ".join(escaped.split())
