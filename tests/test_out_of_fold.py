"""Every row of a table is predicted by the models of a cross-validation that did not see it."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from conftest import Refused
from running import train
from tables import customers, ids, load, of, write_csv

from mlpkit.cli.main import run as command
from mlpkit.folders import checkpoint

FAST = ("model=mlp", "trainer.epochs=3", "run.plots=false", "run.tensorboard=false")
FOLDS = ("dataset.folds=3", "dataset.fold=range(3)")


def table() -> list[dict[str, object]]:
    """Return rows of which two have no target."""
    rows = customers(120)
    rows[7]["churned"] = rows[50]["churned"] = ""
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, and sweeps over its folds with one and with two seeds."""
    folder = tmp_path_factory.mktemp("folds")
    path = write_csv(folder / "churn.csv", table())
    for name, seeds in (("one", "0"), ("two", "0,1")):
        place = (f"run.dir={folder / name}", f"seed={seeds}")
        assert command(["train", "-m", *of(path), *FAST, *FOLDS, *place]) == 0
    return folder


def predicted(folder: Path, *arguments: str) -> list[dict[str, str]]:
    """Return the rows that a command line of predict writes."""
    output = folder / "out.csv"
    assert command(["predict", *arguments, "--output", str(output)]) == 0
    with output.open() as stream:
        return list(csv.DictReader(stream))


def test_each_row_is_predicted_once_by_its_fold_to_the_bit(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = table()
    found = predicted(folder, str(folder / "one"), "--out-of-fold", "--keep", "customer_id")
    printed, said = capsys.readouterr()
    assert [int(row["row"]) for row in found] == [n + 1 for n in range(120) if n not in (7, 50)]
    for row in found:
        raw = rows[int(row["row"]) - 1]
        assert (row["customer_id"], row["true"]) == (raw["customer_id"], raw["churned"])
    right = sum(row["class"] == row["true"] for row in found)
    assert f"out of fold: accuracy {right / 118:.4g} (118 rows)" in printed
    assert "left out 2 rows without a value of the target" in said
    by_row = {int(row["row"]) - 1: row for row in found}
    scale = "dataset.columns.income.scale=none"
    runs = sorted(path for path in (folder / "one").iterdir() if path.is_dir())
    assert len(runs) == 3
    for fold, run in enumerate(runs):
        of_fold = predicted(folder, str(run), "--split", "test")
        tested = ids(load(folder / "churn.csv", scale, "dataset.folds=3", f"dataset.fold={fold}"), rows)
        assert len(tested["test"]) == len(of_fold) > 30
        for place, row in zip(tested["test"], of_fold, strict=True):
            assert {key: by_row[place][key] for key in row} == row


def test_compare_counts_folds_as_folds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, unit, count in (("one", "folds", "3"), ("two", "runs", "6")):
        assert command(["compare", str(folder / name)]) == 0
        heads, cells = (line.split() for line in capsys.readouterr().out.splitlines()[2:4])
        assert heads[-2:] == [unit, "seconds"] and cells[-2] == count


def test_seeds_are_averaged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their probabilities, as those of an ensemble."""
    found = predicted(folder, str(folder / "two"), "--out-of-fold")
    assert "(118 rows, the mean of 2 seeds)" in capsys.readouterr().out
    rows = table()
    first = load(
        folder / "churn.csv", "dataset.columns.income.scale=none", "dataset.folds=3", "dataset.fold=0"
    )
    probabilities = [
        [float(row["p(yes)"]) for row in predicted(folder, str(run), "--split", "test")]
        for run in (folder / "two").iterdir()
        if run.is_dir() and "fold: 0" in (run / "config.yaml").read_text()
    ]
    assert len(probabilities) == 2 and probabilities[0] != probabilities[1]
    by_row = {int(row["row"]) - 1: float(row["p(yes)"]) for row in found}
    for place, one, other in zip(ids(first, rows)["test"], *probabilities, strict=True):
        assert by_row[place] == pytest.approx((one + other) / 2, abs=1e-6)


def test_what_is_no_cross_validation_is_refused(
    folder: Path, tmp_path: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    run = next(path for path in (folder / "one").iterdir() if path.is_dir())
    line = refused("predict", str(run), "--out-of-fold", code=2)
    assert line.endswith(" is not a sweep; name that of mlpkit train -m dataset=… 'dataset.fold=range(5)'")
    line = refused("predict", str(folder / "one"), "--out-of-fold", "--split", "test", code=2)
    assert line.startswith("predict: give one of --input FILE, ")
    line = refused("predict", str(folder / "one"), "--out-of-fold", "--keep", "custmer_id", code=2)
    assert line.endswith("churn.csv has no such column; did you mean customer_id?")
    shutil.copytree(folder / "one", tmp_path / "part")
    shutil.rmtree(next(path for path in (tmp_path / "part").iterdir() if path.name.startswith("0001")))
    line = refused("predict", "part", "--out-of-fold", code=65)
    assert line.startswith("part: seed 0 has no trained run of fold 1 of 3, and the rows of each need")
    assert command(["train", "-m", "dataset=moons", *FAST, "run.dir=seeds", "seed=0,1"]) == 0
    capsys.readouterr()
    line = refused("predict", "seeds", "--out-of-fold", code=2)
    assert " has no fold; train them with mlpkit train -m dataset=" in line
    path, rows = folder / "churn.csv", table()
    before = path.read_bytes()
    rows[3]["age"] = 99
    try:
        write_csv(path, rows)
        line = refused("predict", str(folder / "one"), "--out-of-fold", code=65)
    finally:
        path.write_bytes(before)
    assert line.endswith("bring the old data back, or train the folds anew")


def test_best_epochs_that_the_test_rows_chose_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    swept = ("dataset.val_fraction=0", "dataset.folds=2", "dataset.fold=0,1", "run.dir=sweep")
    assert command(["train", "-m", "dataset=diabetes", *FAST, *swept]) == 0
    capsys.readouterr()
    assert command(["predict", "sweep", "--out-of-fold"]) == 0
    printed, said = capsys.readouterr()
    rows = list(csv.DictReader(printed.splitlines()))
    assert len(rows) == 442 and set(rows[0]) == {"row", "true_progression", "progression"}
    assert "the best epochs were chosen by the rows that are predicted" in said
    assert "out of fold: r2 " in said and "loss" not in said
    assert command(["predict", "sweep", "--out-of-fold", "--checkpoint", "last"]) == 0
    assert "chosen by" not in capsys.readouterr().err


def test_without_a_fold_all_rows_train_and_are_monitored(folder: Path, tmp_path: Path) -> None:
    path = folder / "churn.csv"
    run = train(tmp_path, *of(path), *FAST, "dataset.fold=none")
    summary = json.loads(run.summary.read_text())
    assert (summary["best"]["split"], "val" in summary, "test" in summary) == ("train", False, False)
    rows = ids(load(path, "dataset.columns.income.scale=none", "dataset.fold=none"), table())
    assert {name: sorted(places) for name, places in rows.items()} == {
        "train": [place for place in range(120) if place not in (7, 50)]
    }
    stored = checkpoint.load(run.best)
    assert set(stored.state.scores) == {"train"}
    found = predicted(tmp_path, str(run.path), "--split", "train")
    right = sum(row["class"] == row["true"] for row in found) / len(found)
    assert len(found) == 118 and stored.state.scores["train"]["accuracy"] == pytest.approx(right)
