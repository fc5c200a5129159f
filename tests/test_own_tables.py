"""From somebody's table to a trained model that predicts from raw rows."""

import csv
import io
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Refused
from guide import PROJECT
from running import config, content, train
from tables import customers, write_csv

from mlpkit.cli.main import run as command
from mlpkit.data.dataset import Dataset
from mlpkit.data.encoder import NumberColumn
from mlpkit.data.load import load_dataset
from mlpkit.errors import ConfigError, DataError
from mlpkit.runs import checkpoint

QUICK = ("model=mlp", "run.plots=false", "run.tensorboard=false")
SMALL = (*QUICK, "trainer.epochs=3")


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of customers."""
    return write_csv(tmp_path_factory.mktemp("churn") / "churn.csv", customers())


def of(path: Path, *more: str, target: str = "churned") -> tuple[str, ...]:
    return ("dataset=table", f"dataset.path={path}", f"dataset.target={target}", *more)


def load(path: Path, *more: str, target: str = "churned") -> Dataset:
    return load_dataset(config(*of(path, *more, target=target)).dataset)


def ids(dataset: Dataset, rows: list[dict[str, object]]) -> dict[str, list[int]]:
    """Return the numbers of the rows in each split, by their income, which differs."""
    place = dataset.input_schema.features.index("income")
    numbers = {np.float32(row["income"]): number for number, row in enumerate(rows)}
    return {
        name: [numbers[value] for value in split.inputs[:, place].numpy()]
        for name, split in dataset.splits.items()
    }


@pytest.fixture(scope="module")
def trained_churn(churn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on it."""
    return train(tmp_path_factory.mktemp("runs"), *of(churn), *QUICK, "trainer.epochs=30").path


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_a_table_trains_as_it_is(churn: Path, trained_churn: Path) -> None:
    dataset = load(churn)
    assert dataset.input_schema.task == "binary"
    assert dataset.input_schema.classes == ("no", "yes")
    assert dataset.input_schema.features[:6] == (
        "age",
        "age missing",
        "city=Oslo",
        "city=Paris",
        "city=Rome",
        "city missing",
    )
    assert "customer_id" not in dataset.input_schema.columns
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 144,
        "val": 48,
        "test": 48,
    }
    assert (
        checkpoint.load(trained_churn / "checkpoints" / "best.safetensors").state.scores["val"]["accuracy"]
        > 0.75
    )
    assert any("left out customer_id (identifier)" in line for line in dataset.remarks)
    assert any("left out country (constant): it is always 'FR'" in line for line in dataset.remarks)


def test_rows_that_are_not_trained_on_change_nothing(tmp_path: Path) -> None:
    """Neither weights nor encoder, whatever stands in validation and test rows."""
    rows = customers(200)
    for row in rows:
        row["part"] = (
            "train"
            if int(str(row["household"])) < 40
            else "val"
            if int(str(row["household"])) < 55
            else "test"
        )
    held_out = [row for row in rows if row["part"] != "train"]
    runs = []
    for name in ("before", "after"):
        path = write_csv(tmp_path / f"{name}.csv", rows)
        split = ("dataset.split={by: column, column: part}", "trainer.batch_size=32")
        runs.append(train(tmp_path, *of(path), *split, *SMALL))
        for number, row in enumerate(held_out):
            row |= {
                "age": 1000 + number,
                "city": "Lima",
                "plan": 9,
                "income": 1e6 * number,
                "calls": "",
                "signup": "1900-01-01",
            }
            row["churned"] = ("yes", "no")[number % 2]
    before, after = (checkpoint.load(run.last, checkpoint.KINDS) for run in runs)
    assert before.fingerprint != after.fingerprint
    assert before.input_schema.encoder is not None
    assert before.input_schema == after.input_schema
    for name, tensor in before.state.model.items():
        assert torch.equal(tensor, after.state.model[name]), name
    assert before.state.scores["train"] == after.state.scores["train"]
    assert before.state.scores["val"] != after.state.scores["val"]


def test_predict_evaluate_and_the_split_agree_to_the_bit(
    churn: Path, trained_churn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = customers()
    places = ids(load(churn, "dataset.columns.income.scale=none"), rows)["test"]
    path = write_csv(tmp_path / "test.csv", (rows[place] for place in places))
    assert command(["predict", str(trained_churn), "--split", "test"]) == 0
    by_split = printed(capsys)
    keep = ["--keep", "customer_id", "--keep", "age"]
    assert command(["predict", str(trained_churn), "--input", str(path), *keep]) == 0
    by_file = printed(capsys)
    assert [row["customer_id"] for row in by_file] == [rows[place]["customer_id"] for place in places]
    assert [row["age"] for row in by_file] == [str(rows[place]["age"]) for place in places]
    assert [row["p(yes)"] for row in by_file] == [row["p(yes)"] for row in by_split]
    assert [row["true"] for row in by_split] == [rows[place]["churned"] for place in places]
    assert command(["evaluate", str(trained_churn), "--split", "test"]) == 0
    of_split = capsys.readouterr().out.replace("test ", "input")
    assert command(["evaluate", str(trained_churn), "--input", str(path)]) == 0
    of_file = capsys.readouterr().out
    assert of_file.split() == of_split.split()
    assert float(of_file.split()[7]) > 0.75


def test_columns_are_matched_by_name(
    trained_churn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Refused
) -> None:
    """In any order, without the target, with others that are not read; what is odd is counted."""
    row = customers()[1]
    wanted = ("age", "city", "plan", "smoker", "signup", "calls", "income", "household")
    named = ",".join(f"{name}={row[name]}" for name in wanted)
    ordered = ",".join(str(row[name]) for name in wanted)
    answers = []
    path = write_csv(tmp_path / "one.csv", [{name: row[name] for name in reversed(wanted)} | {"more": 1}])
    for given in (["--input", str(path)], ["--values", named], ["--values", ordered]):
        assert command(["predict", str(trained_churn), *given]) == 0
        found = capsys.readouterr()
        answers.append(found.out)
        assert ("one.csv: not read: more" in found.err) == (given[0] == "--input")
    assert len(set(answers)) == 1
    odd = row | {"city": "Lima", "age": "", "plan": 7}
    path = write_csv(tmp_path / "odd.csv", [odd, odd])
    assert command(["predict", str(trained_churn), "--input", str(path)]) == 0
    said = capsys.readouterr().err
    assert "column age: 2 missing" in said
    assert "column city: 2 not seen in training, such as 'Lima'" in said
    path.unlink()
    (tmp_path / "one.csv").unlink()
    write_csv(tmp_path / "few.csv", [{"age": 1, "city": "Oslo", "churned": "perhaps"}])
    assert refused("predict", str(trained_churn), "--input", "few.csv", code=65) == (
        "few.csv: columns missing: plan, smoker, signup, calls, income, household; it has age, city, "
        "churned; add them (a value may be left empty)"
    )
    line = refused("predict", str(trained_churn), "--values", "age=3,citty=Oslo", code=65)
    assert line == "--values=age=3,citty=Oslo: the model reads no column citty; did you mean city?"
    assert refused("predict", str(trained_churn), "--values", "1,2", code=65).startswith(
        "--values=1,2: 2 values, "
    )
    line = refused("predict", str(trained_churn), "--input", "few.csv", "--keep", "aeg", code=2)
    assert line == "--keep='aeg': few.csv has no such column; did you mean age?"
    bad = write_csv(tmp_path / "few.csv", [row, row | {"churned": "perhaps"}])
    line = refused("evaluate", str(trained_churn), "--input", bad.name, code=65)
    assert line.endswith("column churned: 'perhaps' is no class of the model; it has no, yes")


def test_models_without_an_encoder_are_scored_on_a_file(
    trained: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = load_dataset(config("dataset=moons").dataset)
    rows = dataset.splits["test"]
    names = dataset.input_schema.classes
    written = [
        {"x2": float(x2), "x1": float(x1), "note": "n", "moon": names[label]}
        for (x1, x2), label in zip(rows.inputs.numpy(), rows.targets.tolist(), strict=True)
    ]
    path = write_csv(tmp_path / "moons.csv", written)
    assert command(["evaluate", str(trained["moons"])]) == 0
    of_split = capsys.readouterr().out
    assert command(["evaluate", str(trained["moons"]), "--input", str(path)]) == 0
    assert capsys.readouterr().out.split() == of_split.replace("test ", "input").split()
    assert command(["predict", str(trained["moons"]), "--input", str(path), "--keep", "note"]) == 0
    assert printed(capsys)[0]["note"] == "n"


def test_a_run_is_resumed_from_another_folder(
    churn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path of the table is whole in the run's config."""
    monkeypatch.chdir(churn.parent)
    whole = train(tmp_path / "whole", *of(Path("churn.csv")), *SMALL)
    part = train(tmp_path / "part", *of(Path("churn.csv")), *QUICK, "trainer.epochs=1")
    monkeypatch.chdir(tmp_path)
    assert command(["resume", str(part.path), "trainer.epochs=3"]) == 0
    assert content(part.last)["tensors"] == content(whole.last)["tensors"]


def test_the_config_of_the_guide_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (PROJECT / "docs/own-data.md").read_text(encoding="utf-8")
    shown = re.search(r"```yaml\n# (configs/\S+)\n(.*?)```", page, re.S)
    assert shown is not None
    (tmp_path / shown[1]).parent.mkdir(parents=True)
    (tmp_path / shown[1]).write_text(shown[2], encoding="utf-8")
    write_csv(tmp_path / "churn.csv", customers())
    monkeypatch.chdir(tmp_path)
    chosen = config("dataset=churn")
    assert chosen.trainer.batch_size != "full"  # as with dataset=table
    encoder = load_dataset(chosen.dataset).input_schema.encoder
    assert encoder is not None
    age = next(of for of in encoder.columns if of.column == "age")
    assert isinstance(age, NumberColumn)
    assert age.scale.kind == "quantile"


# ---------------------------------------------------------------------------------------- splits


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


# --------------------------------------------------------------------------------------- targets


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
        (["dataset.path=-"], "dataset.path=-: a run reads its data again when it goes on"),
        (
            ["dataset.ignore=[nam]"],
            "dataset.ignore: churn.csv has no column nam; there is customer_id, age, ",
        ),
        (
            ["dataset.columns.agee.scale=log"],
            "dataset.columns.agee: no such column among the inputs; did you",
        ),
        (["dataset.columns.age.scal=log"], "dataset.columns.age.scal: unknown key; did you mean "),
        (["dataset.columns.age.scale=logg"], "dataset.columns.age.scale='logg': must be one of auto"),
        (["dataset.columns.age=3"], "dataset.columns.age=3: must be a section of keys, such as "),
        (["dataset.fold=5"], "dataset: fold=5 must be below folds=5"),
        (["dataset.split.by=group"], "dataset.split: by=group needs column=NAME"),
        (
            ["dataset.split={by: time, column: signup}", "dataset.fold=1"],
            "dataset.fold: rows are dealt by time, ",
        ),
        (["dataset.split={by: group, column: country}"], "240 rows in 1 groups or times leave no row to "),
        (
            ["dataset.target=income", "dataset.split.by=stratified"],
            "dataset.split.by=stratified: only for classes, ",
        ),
        (
            ["dataset.target=income", "dataset.task=classification"],
            "income: 240 different values in 240 rows are no",
        ),
        (["dataset.target=country"], "country: 1 different values, and a classification takes 2 to 1000"),
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


# ------------------------------------------------------------------------------- built-in tables


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
