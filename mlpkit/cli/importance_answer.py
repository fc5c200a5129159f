"""What `mlpkit importance` answers: tables for the terminal, columns of a csv file, and a picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpkit.analysis.dependence import Dependence, partial_dependence
from mlpkit.analysis.importance import Found, mean_importance, permutation_importance
from mlpkit.analysis.predict import Predictor, one_of
from mlpkit.analysis.predictions_file import Columns
from mlpkit.analysis.repeats import overlap_of
from mlpkit.config.config import Config
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


@dataclass(frozen=True)
class Judged:
    """A model and the rows on which it is judged.

    Attributes:
        dataset: its dataset.
        predictor: the model.
        split: the name of the split that the rows are.
        rows: the rows.
        config: the config of its run.
    """

    dataset: Dataset
    predictor: Predictor
    split: str
    rows: Split
    config: Config

    @property
    def fold(self) -> int | None:
        """The fold that the rows are; None without a cross-validation."""
        found: int | None = getattr(self.config.dataset, "fold", None)
        return found


def importance_answer(models: Sequence[Judged], score: str, repeats: int) -> Answer:
    """Return the importance of all columns; of several models the mean, each on its own rows."""
    first = models[0]
    groups: dict[int, list[Found]] = {}  # by fold, or one for each run
    are_folds = len({of.fold for of in models}) > 1
    for place, of in enumerate(models):
        group = groups.setdefault(of.fold if are_folds and of.fold is not None else place, [])
        group.append(permutation_importance(of.predictor, of.rows, score, repeats))
    overlap = overlap_of(getattr(first.config.dataset, "folds", 0)) if are_folds else 0.0
    score, value, found = mean_importance(list(groups.values()), overlap)
    table = plain_table(f"{_rows(models)}, {score} {number(value)}", ["worse by", "95 % from", "95 % to"])
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

        return draw_importance(first.dataset, first.predictor, first.split, score, found)

    return Answer([table], columns, draw)


def dependence_answer(models: Sequence[Judged], names: Sequence[str]) -> Answer:
    """Return the partial dependence on some columns; several models are members of an ensemble."""
    first, predictor = models[0], one_of([of.predictor for of in models])
    found = [partial_dependence(predictor, first.rows.inputs, name) for name in dict.fromkeys(names)]
    keys = ("column", "value", "output", "mean", "low", "high")
    cells = zip(*(line for each in found for line in _lines(each)), strict=True)
    columns: Columns = dict(zip(keys, cells, strict=True))

    def draw() -> "Figure":
        from mlpkit.plots.dependence import draw_dependence

        return draw_dependence(first.dataset, predictor, first.split, found)

    return Answer([_table(each, _rows(models)) for each in found], columns, draw)


def _rows(models: Sequence[Judged]) -> str:
    """Return whose rows the models are judged on, in words."""
    rows = f"{models[0].split}, {plural(len(models[0].rows), 'row')}"
    return f"{rows}, {len(models)} runs" if len(models) > 1 else rows


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
