"""What `mlpkit importance` answers: tables for the terminal, columns of a csv file, and a picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpkit.analysis.dependence import Dependence, partial_dependence
from mlpkit.analysis.importance import permutation_importance
from mlpkit.analysis.predict import Predictor
from mlpkit.analysis.predictions_file import Columns
from mlpkit.config.problems import plural
from mlpkit.data.dataset import Dataset, Split
from mlpkit.system.console import PlainTable, figures, number, plain_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Answer:
    """An answer in all its forms.

    Attributes:
        tables: what is printed.
        columns: what a csv file holds.
        draw: draws the picture.
    """

    tables: Sequence[PlainTable]
    columns: Columns
    draw: "Callable[[], Figure]"


def importance_answer(
    dataset: Dataset, predictor: Predictor, split: str, rows: Split, score: str, repeats: int
) -> Answer:
    """Return the permutation importance of all columns; the arguments are those of the command."""
    score, value, found = permutation_importance(predictor, rows, score, repeats)
    title = f"{split}, {plural(len(rows), 'row')}, {score} {number(value)}"
    table = plain_table(title, ["worse by", "95 % from", "95 % to"])
    for each in found:
        table.add_row(each.column, *map(figures, (each.drop, each.low, each.high)))
    columns: Columns = {
        "column": [each.column for each in found],
        "drop": [each.drop for each in found],
        "low": [each.low for each in found],
        "high": [each.high for each in found],
    }

    def draw() -> "Figure":
        from mlpkit.plots.importance import draw_importance

        return draw_importance(dataset, predictor, split, score, found)

    return Answer([table], columns, draw)


def dependence_answer(
    dataset: Dataset, predictor: Predictor, split: str, rows: Split, names: Sequence[str]
) -> Answer:
    """Return the partial dependence on some columns."""
    found = [partial_dependence(predictor, rows.inputs, name) for name in dict.fromkeys(names)]
    title = f"{split}, {plural(len(rows), 'row')}"
    columns: Columns = {key: [] for key in ("column", "value", "output", "mean", "low", "high")}
    for each in found:
        for line in _lines(each):
            for key, cell in zip(columns, line, strict=True):
                columns[key].append(cell)

    def draw() -> "Figure":
        from mlpkit.plots.dependence import draw_dependence

        return draw_dependence(dataset, predictor, split, found)

    return Answer([_table(each, title) for each in found], columns, draw)


def _lines(found: Dependence) -> list[list[float | str]]:
    """Return a line of the csv file for each value and output; the ends are empty for one network."""
    lines: list[list[float | str]] = []
    values: Sequence[float | str] = found.values
    for i, value in enumerate(values):
        for j, output in enumerate(found.outputs):
            ends = ("" if end is None else float(end[i, j]) for end in (found.low, found.high))
            lines.append([found.column, value, output, float(found.mean[i, j]), *ends])
    return lines


def _table(found: Dependence, title: str) -> PlainTable:
    """Return a table with a row for each value; with the interval if there is one output."""
    header = [f"mean {output}" for output in found.outputs]
    rows = [list(map(figures, row)) for row in found.mean.tolist()]
    if found.low is not None and found.high is not None and len(header) == 1:
        header += ["95 % from", "95 % to"]
        for row, low, high in zip(rows, found.low[:, 0].tolist(), found.high[:, 0].tolist(), strict=True):
            row += [figures(low), figures(high)]
    table = plain_table(f"{found.column}: {title}", header)
    for value, row in zip(found.values, rows, strict=True):
        table.add_row(value if isinstance(value, str) else f"{value:.6g}", *row)
    return table
