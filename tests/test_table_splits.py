"""How a table's rows are split, what its target asks for, and what is wrong with it."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from running import config
from tables import customers, ids, load, of, write_csv

from mlpkit.cli.main import run as command
from mlpkit.data.load import load_dataset
from mlpkit.errors import ConfigError, DataError

SMALL = ("model=mlp", "trainer.epochs=3", "run.plots=false", "run.tensorboard=false")


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of customers."""
    return write_csv(tmp_path_factory.mktemp("churn") / "churn.csv", customers())


def test_folds_hold_each_row_once_and_all_classes(churn: Path) -> None:
    rows, plain = customers(), "dataset.columns.income.scale=none"
    tests = list[int]()
    share = Counter(str(row["churned"]) for row in rows)["yes"] / len(rows)
    for fold in range(4):
        dataset = load(churn, plain, "dataset.folds=4", f"dataset.fold={fold}")
        parts = ids(dataset, rows)
        assert sorted(place for part in parts.values() for place in part) == list(range(len(rows)))
        tests += parts["test"]
        for part in parts.values():
            assert abs(sum(rows[place]["churned"] == "yes" for place in part) / len(part) - share) < 0.03
    assert sorted(tests) == list(range(len(rows)))
    everything = load(churn, plain, "dataset.fold=none")
    assert {name: len(split) for name, split in everything.splits.items()} == {"train": len(rows)}


@pytest.mark.parametrize("fold", ["null", "0", "3"])
def test_a_group_is_on_one_side(churn: Path, fold: str) -> None:
    rows = customers()
    split = ("dataset.split={by: group, column: household}", f"dataset.fold={fold}")
    dataset = load(churn, "dataset.columns.income.scale=none", *split)
    parts = {name: {rows[place]["household"] for place in of} for name, of in ids(dataset, rows).items()}
    assert sum(map(len, parts.values())) == len(set.union(*parts.values())) == 80
    assert "household" not in dataset.input_schema.columns
    assert 40 <= len(dataset.splits["test"]) <= 56


def test_the_last_rows_test(churn: Path) -> None:
    rows = customers()
    dataset = load(churn, "dataset.columns.income.scale=none", "dataset.split={by: time, column: signup}")
    parts = {name: [str(rows[place]["signup"]) for place in of] for name, of in ids(dataset, rows).items()}
    assert max(parts["train"]) < min(parts["val"]) <= max(parts["val"]) < min(parts["test"])


@pytest.mark.parametrize("memory", ["null", "1MB"])
def test_a_file_is_in_one_split_alone(memory: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_csv(tmp_path / f"{name}.csv", customers(60))
    split = f"dataset.split={{by: files, val: {tmp_path}/b.csv}}"
    with pytest.raises(ConfigError, match=r"^dataset.split.val=.*b.csv: dataset.path names this file too"):
        load(tmp_path / "*.csv", split, f"dataset.memory={memory}")


def test_each_split_may_have_a_file(tmp_path: Path) -> None:
    rows = customers()
    for name, part in (("train", rows[:150]), ("val", rows[150:200]), ("test", rows[200:])):
        write_csv(tmp_path / f"{name}.csv", part)
    split = f"dataset.split={{by: files, val: {tmp_path}/val.csv, test: {tmp_path}/test.csv}}"
    dataset = load(tmp_path / "train.csv", split, "dataset.columns.income.scale=none")
    assert ids(dataset, rows) == {
        "train": [*range(150)],
        "val": [*range(150, 200)],
        "test": [*range(200, 240)],
    }


def test_equal_rows_in_two_splits_are_counted(tmp_path: Path) -> None:
    rows = customers(60)
    path = write_csv(tmp_path / "twice.csv", [*rows, *rows])
    twice = [line for line in load(path).remarks if line.startswith("warning: ")]
    assert any("test rows are equal to a training row, so its scores are too good" in line for line in twice)
    assert len(twice) == 2
    assert not any(
        line.startswith("warning") for line in load(write_csv(tmp_path / "once.csv", rows)).remarks
    )


def test_the_target_decides_the_task(churn: Path) -> None:
    for target, more, task in (
        ("churned", (), "binary"),
        ("plan", (), "multiclass"),
        ("plan", ("dataset.task=regression",), "regression"),
        ("calls", (), "regression"),
        ("income", (), "regression"),
        ("[calls,income]", (), "regression"),
    ):
        dataset = load(churn, *more, target=target)
        assert dataset.input_schema.task == task, target
    assert dataset.input_schema.targets == ("calls", "income")
    assert dataset.splits["train"].targets.shape == (144, 2)
    assert dataset.target_scaling is not None
    assert load(churn, target="plan").input_schema.classes == ("1", "2", "3")


def test_rows_without_a_target_are_left_out(tmp_path: Path) -> None:
    rows = customers(100)
    for row in rows[::10]:
        row["churned"] = ""
    dataset = load(write_csv(tmp_path / "some.csv", rows))
    assert sum(len(split) for split in dataset.splits.values()) == 90
    assert "left out 10 rows without a value of the target" in dataset.remarks


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (["dataset.target=chrned"], "dataset.target='chrned': churn.csv has no such column; did you mean "),
        (["dataset.target=null"], "dataset.target: no column is named; write dataset.target=NAME"),
        (["dataset.path=null"], "dataset.path: no file is named; write dataset.path=FILE"),
        (["dataset.path=-"], "dataset.path=-: stdin cannot be read again when a run is resumed"),
        (
            ["dataset.ignore=[nam]"],
            "dataset.ignore: churn.csv has no column nam; there is customer_id, age, ",
        ),
        (
            ["dataset.columns.agee.scale=log"],
            "dataset.columns.agee: no such column among the inputs; did you",
        ),
        (["dataset.columns.age.scal=log"], "dataset.columns.age.scal: unknown key; did you mean "),
        (["dataset.columns.age.scale=logg"], "dataset.columns.age.scale='logg': must be one of standard, "),
        (["dataset.columns.age=3"], "dataset.columns.age=3: must be a section of keys, such as "),
        (["dataset.fold=5"], "dataset: fold=5 must be below folds=5"),
        (["dataset.split.by=group"], "dataset.split: by=group needs a column; add dataset.split.column=NAME"),
        (
            ["dataset.split={by: time, column: signup}", "dataset.fold=1"],
            "dataset: fold=1: rows are split by time, which has no folds; ",
        ),
        (["dataset.split={by: group, column: country}"], "240 rows in 1 groups or times leave no row to "),
        (
            ["dataset.target=income", "dataset.split.by=stratified"],
            "dataset.split.by=stratified: only for classes, ",
        ),
        (
            ["dataset.target=income", "dataset.task=classification"],
            "column income: 240 different values in 240 rows are too many for classes",
        ),
        (["dataset.target=country"], "country: 1 different value, and a classification takes 2 to 1000"),
    ],
)
def test_what_is_wrong_is_said(
    settings: list[str], line: str, churn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(churn.parent)
    given = {text.partition("=")[0]: text for text in (*of(Path("churn.csv")), *settings)}
    with pytest.raises((ConfigError, DataError)) as caught:
        load_dataset(config(*given.values()).dataset)
    (said,) = caught.value.args
    assert line in said.replace(f"{churn.parent}/", ""), said
    assert said.isprintable()


@pytest.mark.parametrize(
    ("name", "task", "classes"),
    [
        ("iris", "multiclass", ("setosa", "versicolor", "virginica")),
        ("wine", "multiclass", ("class_0", "class_1", "class_2")),
        ("breast_cancer", "binary", ("benign", "malignant")),
        ("diabetes", "regression", ()),
    ],
)
def test_built_in_tables_have_names(name: str, task: str, classes: tuple[str, ...]) -> None:
    dataset: Any = load_dataset(config(f"dataset={name}").dataset)
    assert (dataset.input_schema.task, dataset.input_schema.classes) == (task, classes)
    assert dataset.input_schema.encoder is not None
    assert set(dataset.splits) == {"train", "val", "test"}
    means = dataset.splits["train"].inputs.double().mean(0)
    assert means.abs().max() < 1e-3 or name == "diabetes"  # whose sex is 1 or 2


def test_folds_train_together_and_repeat_a_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    swept = ("optimizer.lr=0.01,0.1", "dataset.fold=range(5)", "run.dir=sweep")
    assert command(["train", "-m", "dataset=iris", *SMALL, *swept]) == 0
    out = capsys.readouterr().out
    assert "sweep of 10 runs: 10 trained together" in out
    assert out.count("target species") == 1
    assert command(["compare", "sweep", "--metric", "test.accuracy"]) == 0
    assert "10 runs, 2 settings" in capsys.readouterr().out
