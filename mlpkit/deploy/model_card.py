"""The model card: what a reader must know of a model before using it, as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mlpkit.analysis.model_facts import (
    Rows,
    column_table,
    data_texts,
    environment_rows,
    final_of,
    interval_text,
    limits,
    read_or_empty,
    score_table,
)
from mlpkit.config import yaml_file
from mlpkit.config.config import to_dict
from mlpkit.deploy.format import Source
from mlpkit.folders.results import summarized_scores
from mlpkit.folders.run_folder import RunFolder
from mlpkit.models.torch_network import count_parameters


def model_card(source: Source, paths: Sequence[Path], sizes: Mapping[str, int], step: int) -> str:
    """Return the model card.

    Args:
        source: the model.
        paths: the checkpoints of its members.
        sizes: the rows of each split; empty if the data is not there any more.
        step: of the first checkpoint.
    """
    folder = RunFolder(paths[0].parents[1]) if paths[0].parent.name == "checkpoints" else None
    environment = read_or_empty(folder.environment) if folder else {}
    parts = [
        f"# {_text(source.title)}",
        *_about(source, paths),
        "## Data",
        *_data(source, sizes),
        "## Scores",
        *_scores(folder, paths, step),
        "## Limits",
        "\n".join(f"- {_text(line)}" for line in limits(source.schema, sizes)),
        "## Config",
        f"```yaml\n{yaml_file.dump(to_dict(source.config)).strip()}\n```",
        "## Environment",
        _table(Rows(("", ""), list(environment_rows(environment)))) if environment else "It is not known.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(source: Source, paths: Sequence[Path]) -> Iterator[str]:
    parameters = count_parameters(source.predictor.network)
    members = f"An ensemble of {len(paths)} models, each of" if len(paths) > 1 else "It has"
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


def _scores(folder: RunFolder | None, paths: Sequence[Path], step: int) -> Iterator[str]:
    which = "best" if paths[0].stem == "best" else "last"
    splits = summarized_scores(folder, which, step) if folder else None
    if folder is None or not splits:
        yield "The run has no summary of its scores."
        return
    if len(paths) > 1:
        yield "Those of the first member."
    final = final_of(read_or_empty(folder.summary))
    yield _table(score_table(splits, final))
    if final is not None:
        yield _text(interval_text(final))


def _table(table: Rows) -> str:
    lines = [table.titles, ["---"] * len(table.titles), *table.rows]
    return "\n".join(f"| {' | '.join(_text(str(cell)) for cell in line)} |" for line in lines)


def _text(text: str) -> str:
    """Return text that Markdown shows as it is."""
    escaped = "".join(f"\\{c}" if c in "\\`*_{}[]<>#|" else c for c in text)
    return " ".join(escaped.split())
