"""Tables that nobody made for mlpkit: trained on, predicted and scored from the files as they are."""

import csv
import io
import re
from importlib.metadata import distribution
from pathlib import Path

import pytest
from running import config, mlpkit
from tables import write_csv

from mlpkit.cli.shorthand import expand
from mlpkit.data.table_dataset import split_table
from mlpkit.data.table_options import TableOptions
from mlpkit.data.table_targets import find_targets, target_columns

QUICK = ("run.plots=false", "run.loggers=[]", "run.progress=none", "run.dir=run")

Row = dict[str, str]


def shipped(package: str, name: str) -> Path:
    """Return a file that a package ships, without importing the package."""
    return Path(str(distribution(package).locate_file(name)))


def held_out(path: Path, target: str) -> list[Row]:
    """Return the test rows, as the file spells them."""
    chosen = config(*expand((f"data={path}", f"target={target}"))).dataset
    assert isinstance(chosen, TableOptions)
    raw = chosen.raw()
    targets = find_targets(target_columns(raw.table, [target], raw.source, raw.locate), chosen.task)
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [rows[row] for row in split_table(chosen, raw, targets)["test"]]


def scores_of(printed: str) -> dict[str, float]:
    """Return the scores that `mlpkit evaluate` prints, by name."""
    names, values = printed.splitlines()[:2]
    numbers = values.split()[1:]
    return dict(zip(names.split()[-len(numbers) :], map(float, numbers), strict=True))


def train_and_use(
    path: Path, target: str, keep: str, changes: dict[str, str], folder: Path
) -> tuple[list[Row], dict[str, float]]:
    """Train on a table; predict and score its test rows, some values of which are missing or new.

    Args:
        path: the file.
        target: its column that is predicted.
        keep: a column that is copied to the predictions.
        changes: by column, what replaces every fifth value.
        folder: where the run goes.

    Returns:
        The predictions, and the scores.
    """
    mlpkit("train", f"data={path}", f"target={target}", *QUICK, cwd=folder)
    rows = held_out(path, target)
    for row in rows[::5]:
        row |= changes
    write_csv(folder / "changed.csv", rows)
    bare = [{name: value for name, value in row.items() if name != target} for row in rows]
    write_csv(folder / "bare.csv", bare)
    predicted = mlpkit("predict", "run", "--input", "bare.csv", "--keep", keep, cwd=folder)
    for column, value in changes.items():
        assert f"column {column}: " in predicted.stderr
        assert (f"not seen in training, such as '{value}'" in predicted.stderr) == bool(value)
    evaluated = mlpkit("evaluate", "run", "--input", "changed.csv", cwd=folder)
    found = list(csv.DictReader(io.StringIO(predicted.stdout)))
    assert [row[keep] for row in found] == [row[keep] for row in rows]
    return found, scores_of(evaluated.stdout)


@pytest.fixture(scope="module")
def penguins() -> Path:
    """344 penguins of three species, some values missing (Gorman, Williams, Fraser 2014)."""
    return shipped("palmerpenguins", "palmerpenguins/data/penguins.csv")


@pytest.mark.long
def test_a_classification(penguins: Path, tmp_path: Path) -> None:
    changes = {"sex": "", "flipper_length_mm": "", "island": "Coulman"}
    predicted, scores = train_and_use(penguins, "species", "year", changes, tmp_path)
    assert {row["class"] for row in predicted} == {"Adelie", "Chinstrap", "Gentoo"}
    assert scores["accuracy"] > 0.9  # always the commonest: 0.44


@pytest.mark.long
def test_a_regression(penguins: Path, tmp_path: Path) -> None:
    """Two penguins have no weight: training and scoring leave them out."""
    changes = {"sex": "", "species": "Macaroni"}
    predicted, scores = train_and_use(penguins, "body_mass_g", "island", changes, tmp_path)
    assert all(2000 < float(row["body_mass_g"]) < 7000 for row in predicted)
    assert scores["rmse"] < 500  # always the mean: 800
    evaluated = mlpkit("evaluate", "run", "--input", str(penguins), cwd=tmp_path)
    assert "left out 2 rows without a value of the target" in evaluated.stderr
    assert re.search(r"^best, epoch \d+, 342 rows", evaluated.stdout)


@pytest.mark.long
@pytest.mark.parametrize(
    ("target", "keep", "changes", "score", "bound"),
    [
        ("Sex", "Individual ID", {"Culmen Length (mm)": "", "Comments": "Bitten."}, "accuracy", 0.8),
        ("Species", "Sample Number", {"Delta 15 N (o/oo)": "", "Island": "Coulman"}, "accuracy", 0.9),
        ("Flipper Length (mm)", "studyName", {"Date Egg": "", "Sex": "unknown"}, "r2", 0.6),
        ("Delta 13 C (o/oo)", "Date Egg", {"Body Mass (g)": ""}, "r2", 0.5),
    ],
)
def test_the_raw_table(
    target: str, keep: str, changes: dict[str, str], score: str, bound: float, tmp_path: Path
) -> None:
    """As the penguins were measured: long names with units, dates, comments, identifiers, constants."""
    raw = shipped("palmerpenguins", "palmerpenguins/data/penguins-raw.csv")
    assert train_and_use(raw, target, keep, changes, tmp_path)[1][score] > bound
