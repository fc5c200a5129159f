"""Predictions come back from each kind of file as they went in; a file is written whole or not at all."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow import parquet

from mlpkit.analysis.predictions import Predictions
from mlpkit.analysis.predictions_file import ENDINGS, Columns, as_columns, to_csv, write
from mlpkit.data.input_schema import InputSchema
from mlpkit.errors import ConfigError, WriteError
from mlpkit.folders.output_file import check_output

CLASSES = InputSchema("multiclass", ("x",), (1,), ("kind",), ("a", "b, c", 'd "e"'))
TARGETS = InputSchema("regression", ("x",), (1,), ("y", "z"))
PREDICTIONS = Predictions(
    torch.tensor([0, 2]), torch.tensor([[0.7, 0.2, 0.1], [1 / 3, 1e-30, 0.5]], dtype=torch.float32)
)


def listed(columns: Columns) -> dict[str, list[object]]:
    """Return the columns as lists; numpy's numbers stay what they are."""
    return {name: list(values) for name, values in columns.items()}


def read_back(path: Path) -> Columns:
    """Return the columns of a file; csv's are texts."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name].tolist() for name in arrays.files}
    if path.suffix == ".parquet":
        return parquet.read_table(path).to_pydict()  # type: ignore[no-any-return]
    with path.open(newline="", encoding="utf-8") as stream:
        rows = (
            list(csv.DictReader(stream)) if path.suffix == ".csv" else [json.loads(line) for line in stream]
        )
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_columns_of_a_classification() -> None:
    columns = listed(as_columns(PREDICTIONS, CLASSES, ("1.png", "2.png"), torch.tensor([1, 2])))
    assert list(columns) == ["file", "true", "label", "class", "p(a)", "p(b, c)", 'p(d "e")']
    assert columns["file"] == ["1.png", "2.png"]
    assert columns["true"] == ["b, c", 'd "e"']
    assert columns["label"] == [0, 2]
    assert columns["class"] == ["a", 'd "e"']
    assert columns["p(a)"] == [np.float32(0.7), np.float32(1 / 3)]


def test_columns_of_a_regression() -> None:
    values = torch.tensor([[0.1, 2.0], [3.0, -4e-8]])
    columns = listed(as_columns(Predictions(values, None), TARGETS))
    assert columns == {"y": [np.float32(0.1), 3.0], "z": [2.0, np.float32(-4e-8)]}
    apart = listed(as_columns(Predictions(values, None), TARGETS, spread=values / 4))
    assert list(apart) == ["y", "z", "spread(y)", "spread(z)"] and apart["spread(z)"] == [
        0.5,
        np.float32(-1e-8),
    ]
    columns = listed(as_columns(Predictions(values, None), TARGETS, true=values * 2))
    assert list(columns) == ["true_y", "true_z", "y", "z"]
    assert columns["true_z"] == [4.0, np.float32(-8e-8)]


def test_a_target_is_kept_beside_its_prediction() -> None:
    predictions = Predictions(torch.tensor([[0.5, 2.0]]), None)
    kept = {"id": ["a"], "z": [2.5]}
    assert list(as_columns(predictions, TARGETS, kept=kept)) == ["id", "true_z", "y", "z"]
    known = as_columns(predictions, TARGETS, true=torch.tensor([[0.0, 2.5]]), kept=kept)
    assert list(known) == ["id", "true_z", "true_y", "y", "z"]  # out of fold the targets are there already
    assert known["true_z"] == [2.5]
    with pytest.raises(ConfigError, match="--keep='label': the output has such a column"):
        as_columns(PREDICTIONS, CLASSES, kept={"label": [1, 2]})


def test_numbers_are_as_short_as_they_are_exact() -> None:
    values = torch.tensor([[0.1, 1 / 3], [1e-30, 65536.0]])
    lines = to_csv(as_columns(Predictions(values, None), TARGETS)).split("\n")
    assert lines == ["y,z", "0.1,0.33333334", "1e-30,65536.0", ""]


@pytest.mark.parametrize("ending", ENDINGS)
def test_files_hold_the_columns(ending: str, tmp_path: Path) -> None:
    columns = as_columns(PREDICTIONS, CLASSES, ("ü.png", "two\nlines.png"), torch.tensor([1, 2]))
    path = tmp_path / f"predictions{ending}"
    write(path, [columns])
    found = read_back(path)
    assert list(found) == list(columns)
    for name, values in columns.items():
        if isinstance(values[0], np.float32):
            np.testing.assert_array_equal(np.array(found[name], "float32"), np.array(values))
        else:
            assert [str(value) for value in found[name]] == [str(value) for value in values]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_double_precision_is_kept(tmp_path: Path) -> None:
    values = torch.tensor([[1 / 3, 1e-300]], dtype=torch.float64)
    for ending in ENDINGS:
        write(tmp_path / f"a{ending}", [as_columns(Predictions(values, None), TARGETS)])
        found = read_back(tmp_path / f"a{ending}")
        assert (float(found["y"][0]), float(found["z"][0])) == (1 / 3, 1e-300)


@pytest.mark.parametrize("ending", ENDINGS)
def test_portions_come_one_after_the_other(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    portions: list[Columns] = [{"a": [None, None], "b": ["x", ""]}, {"a": [1, None], "b": ["y", "z"]}]
    assert write(path, iter(portions)) == 4
    found = read_back(path)
    assert list(found) == ["a", "b"] and found["b"] == ["x", "", "y", "z"]
    assert [value in (None, "") or value != value for value in found["a"]] == [True, True, False, True]
    assert float(found["a"][2]) == 1


def test_an_older_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x" * 10_000)
    write(path, [{"y": [1]}])
    assert path.read_text() == "y\n1\n"
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    path.write_text("what was there")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError) as caught:
        write(path, [{"y": [1, 2]}])
    said = str(caught.value)
    assert said.startswith(f"{path}: cannot be written (No space left on device); free some space")
    assert path.read_text() == "what was there"
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.txt", "the ending must be one of .csv, .jsonl, .npz, .parquet"),
        ("a", "the ending must be one of .csv, .jsonl, .npz, .parquet"),
        ("a.CSV", "the ending must be one of .csv, .jsonl, .npz, .parquet"),
        (".csv", "the ending must be one of .csv, .jsonl, .npz, .parquet"),
        ("none/a.csv", "its folder does not exist; make it first"),
        ("old.csv/a.csv", "its folder does not exist; make it first"),
        ("folder.csv", "is there and no regular file; choose another name"),
        ("pipe.npz", "is there and no regular file; choose another name"),
        ("x" * 300 + ".csv", "File name too long; choose another name"),
    ],
)
def test_what_cannot_be_written_is_refused_beforehand(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "old.csv").write_text("")
    os.mkfifo(tmp_path / "pipe.npz")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError) as caught:
        check_output(tmp_path / name, ENDINGS)
    assert str(caught.value) == f"--output={tmp_path / name}: {message}"
    assert sorted(tmp_path.rglob("*")) == before


def test_what_can_be_written_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old.csv").write_text("")
    monkeypatch.chdir(tmp_path)
    for name in ("old.csv", "new.csv", "a b.jsonl", "./x.npz", str(tmp_path / "y.npz")):
        check_output(Path(name), ENDINGS)
    assert [file.name for file in tmp_path.iterdir()] == ["old.csv"]
