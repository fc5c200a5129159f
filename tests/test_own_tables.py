"""From somebody's table to a trained model that predicts from raw rows."""

import csv
import io
import re
from pathlib import Path

import pytest
import torch
from conftest import Refused
from guide import PROJECT
from running import config, content, train
from tables import customers, ids, load, of, write_csv

from mlpkit.cli.main import run as command
from mlpkit.data.encoder import NumberColumn
from mlpkit.data.load import load_dataset
from mlpkit.folders import checkpoint

QUICK = ("model=mlp", "run.plots=false", "run.tensorboard=false")
SMALL = (*QUICK, "trainer.epochs=3")


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of customers."""
    return write_csv(tmp_path_factory.mktemp("churn") / "churn.csv", customers())


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


def without_baselines(printed: str) -> list[str]:
    """Return the words that evaluate prints of a split, without the baselines, which a file does not have."""
    lines = printed.splitlines()
    about = [line for line in lines if line.startswith(("loss: ", "calibration: "))]
    return " ".join(lines[:4] + about + lines[lines.index("") :]).split()


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
    assert of_file.split() == without_baselines(of_split)
    assert float(of_file.split()[9]) > 0.75


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
    assert line.endswith("column churned: 'perhaps' is not a class of the model; it has no, yes")


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
    assert capsys.readouterr().out.split() == without_baselines(of_split.replace("test ", "input"))
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


def test_tables_are_trained_until_validation_stops_improving(
    tmp_path: Path, churn: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And where there are no validation rows, that is said."""
    monkeypatch.chdir(tmp_path)
    chosen = config(*of(churn)).trainer
    assert (chosen.epochs, chosen.early_stopping.patience) == (200, 30)
    assert config("dataset=mnist").trainer.early_stopping.patience is None
    given = ["train", *of(churn), *SMALL]
    assert command(given) == 0
    assert "early stopping" not in capsys.readouterr().err
    assert command([*given, "dataset.fold=none"]) == 0
    assert "without validation rows, early stopping watches the training rows" in capsys.readouterr().err
    assert command([*given, "dataset.fold=none", "trainer.early_stopping.patience=null"]) == 0
    assert "early stopping" not in capsys.readouterr().err


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


def test_scores_of_the_file_that_was_trained_on_are_marked(
    churn: Path, trained_churn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"{churn}: the model was trained on rows of it, so these scores are too good; "
    assert command(["evaluate", str(trained_churn), "--input", str(churn)]) == 0
    assert line in capsys.readouterr().err
    other = write_csv(tmp_path / "other.csv", customers()[:50])
    assert command(["evaluate", str(trained_churn), "--input", str(other)]) == 0
    assert "too good" not in capsys.readouterr().err
