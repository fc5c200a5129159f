"""The model card: what a reader must know of a model before using it, as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mlpkit.analysis.calibration import temperatures_of
from mlpkit.analysis.model_facts import (
    Rows,
    column_table,
    data_texts,
    environment_rows,
    limits,
    read_or_empty,
    score_table,
)
from mlpkit.analysis.predict import members_of
from mlpkit.config import yaml_file
from mlpkit.config.config import to_dict
from mlpkit.deploy.card_scores import CardScores
from mlpkit.deploy.format import Source
from mlpkit.folders.find_run import run_of
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_record import read_environment
from mlpkit.models.torch_network import count_parameters


def model_card(source: Source, paths: Sequence[Path], sizes: Mapping[str, int], scores: CardScores) -> str:
    """Return the model card.

    Args:
        source: the model.
        paths: the checkpoints of its members.
        sizes: the rows of each split; empty if the data is not there any more.
        scores: of the model.
    """
    environment = read_or_empty(read_environment, RunFolder(run_of(paths[0])))
    is_calibrated = temperatures_of(source.predictor) != [1]
    parts = [
        f"# {_text(source.title)}",
        *_about(source, paths),
        "## Data",
        *_data(source, sizes),
        "## Scores",
        *_scores(scores),
        "## Limits",
        "\n".join(f"- {_text(line)}" for line in limits(source.schema, sizes, is_calibrated)),
        "## Config",
        "That of the first member." if len(paths) > 1 else "",
        f"```yaml\n{yaml_file.dump(to_dict(source.config)).strip()}\n```",
        "## Environment",
        _table(Rows(("", ""), list(environment_rows(environment)))) if environment else "It is not known.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(source: Source, paths: Sequence[Path]) -> Iterator[str]:
    parameters = count_parameters(source.predictor.network)
    count = len(members_of(source.predictor))
    members = f"An ensemble of {count} models, each of" if count > 1 else "It has"
    yield f"{members} {parameters:,} parameters. Task: {source.schema.task}."
    if source.has_threshold:
        what = _text(source.schema.classes[1]) if source.schema.classes else "a label"
        yield f"It says {what} where the probability is above {source.threshold:g}."


def _data(source: Source, sizes: Mapping[str, int]) -> Iterator[str]:
    yield from map(_text, data_texts(source.config, source.schema, sizes))
    if not sizes:
        yield "The data was not there when this card was written."
    if found := column_table(source.schema):
        columns, more = found
        yield _table(columns)
        if more:
            yield f"And {more} more columns; manifest.json has them all."


def _scores(scores: CardScores) -> Iterator[str]:
    yield scores.about
    if scores.rows:
        yield _table(score_table(scores.rows))
    yield scores.note


def _table(table: Rows) -> str:
    lines = [table.titles, ["---"] * len(table.titles), *table.rows]
    return "\n".join(f"| {' | '.join(_text(str(cell)) for cell in line)} |" for line in lines)


def _text(text: str) -> str:
    """Return text that Markdown shows as it is."""
    escaped = "".join(f"\\{c}" if c in "\\`*_{}[]<>#|" else c for c in text)
    return " ".join(escaped.split())
