"""How a table's text was found to be written stands in the run's config, and holds for later files."""

import csv
import io
from pathlib import Path

import pytest
from running import content, train
from tables import customers, of

from mlpkit.cli.main import run as command
from mlpkit.config import yaml_file
from mlpkit.config.config import to_dict
from mlpkit.data.raw_table import read_files
from mlpkit.data.table_file import MISSING, TableFormat
from mlpkit.folders import checkpoint

QUICK = ("model=mlp", "run.plots=false", "run.tensorboard=false")
GERMAN = {"separator": ";", "decimal": ",", "encoding": "cp1252", "header": True}


def write(path: Path, rows: int = 120, separator: str = ";", encoding: str = "cp1252") -> Path:
    """Write customers as a German office program does; with commas between values, points in numbers."""
    found = customers(rows)
    with path.open("w", newline="", encoding=encoding) as stream:
        writer = csv.DictWriter(stream, list(found[0]), delimiter=separator)
        writer.writeheader()
        for row in found:
            row["income"] = str(row["income"]).replace(".", "," if separator == ";" else ".")
            writer.writerow(row | {"country": "Österreich"})
    return path


@pytest.fixture(scope="module")
def german(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on such a table."""
    folder = tmp_path_factory.mktemp("german")
    return train(folder, *of(write(folder / "kunden.csv")), *QUICK, "trainer.epochs=2").path


def test_a_run_keeps_what_was_found(german: Path) -> None:
    stored = checkpoint.load(german / "checkpoints" / "last.safetensors")
    written = yaml_file.read(german / "config.yaml")
    for found in (written, to_dict(stored.config)):
        assert {key: found["dataset"][key] for key in GERMAN} == GERMAN


def test_an_interrupted_run_goes_on_with_what_was_found(german: Path, tmp_path: Path) -> None:
    """Whether from its own config or from the typed one, in which these options are null."""
    table = of(german.parents[1] / "kunden.csv")
    whole = train(tmp_path / "whole", *table, *QUICK, "trainer.epochs=3")
    for number, way in enumerate(("resume", "auto")):
        place = f"run.dir={tmp_path / str(number)}"
        part = train(tmp_path, *table, *QUICK, "trainer.epochs=1", place)
        if way == "resume":
            assert command(["resume", str(part.path), "trainer.epochs=3"]) == 0
        else:
            train(tmp_path, *table, *QUICK, "trainer.epochs=3", place, "run.resume=auto")
        assert content(part.last)["tensors"] == content(whole.last)["tensors"]
        assert yaml_file.read(part.config)["dataset"]["decimal"] == ","


def test_a_later_file_is_read_as_it_was_found_then(
    german: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or the difference is said: a row alone does not show that its decimal mark is a comma."""
    monkeypatch.chdir(tmp_path)
    answers = []
    write(tmp_path / "same.csv", rows=1)
    write(tmp_path / "english.csv", rows=1, separator=",", encoding="utf-8")
    write(tmp_path / "utf8.csv", rows=1, encoding="utf-8")
    said = {
        "same.csv": None,
        "english.csv": 'english.csv: separator ",", decimal ".", utf-8; the training data: separator ";", '
        'decimal ",", cp1252',
        "utf8.csv": "utf8.csv: utf-8; the training data: cp1252",
    }
    for name, line in said.items():
        assert command(["predict", str(german), "--input", name]) == 0
        printed, notes = capsys.readouterr()
        answers.append(printed)
        assert (line in " ".join(notes.split())) if line else "training data" not in notes
        assert command(["evaluate", str(german), "--input", name]) == 0
        capsys.readouterr()
    assert len(set(answers)) == 1
    (tmp_path / "same.csv").write_text("age;income\n3;1,5\n")
    assert command(["predict", str(german), "--input", "same.csv"]) == 65
    assert "same.csv: columns missing: city, plan" in capsys.readouterr().err


def test_files_that_differ_are_found_out_each_time(tmp_path: Path) -> None:
    """Of them only what is the same in all may stand in the config."""
    one = write(tmp_path / "a.csv", rows=60)
    two = write(tmp_path / "b.csv", rows=60, encoding="utf-8")
    other = write(tmp_path / "val.csv", rows=60, separator=",", encoding="utf-8")
    for files, known in (
        ({"train": [str(one), str(two)]}, {"separator": ";", "decimal": ",", "header": True}),
        ({"train": [str(one)], "val": [str(other)]}, {"header": True}),
    ):
        raw = read_files(files, TableFormat(), MISSING)
        assert raw.format is not None and raw.format.settings() == known
    split = f"dataset.split={{by: files, val: {other}}}"
    run = train(tmp_path, *of(one), split, *QUICK, "trainer.epochs=1")
    assert command(["resume", str(run.path), "trainer.epochs=2"]) == 0


def test_stdin_is_read_as_the_training_data(
    german: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    written = write(tmp_path / "now.csv", rows=5).read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(written)))
    assert command(["predict", str(german), "--input", "-"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6
