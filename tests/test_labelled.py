"""`evaluate --input` scores pictures, pixels in tables and arrays like a split of the same rows."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Refused
from own_data import draw, save
from running import config, train
from tables import write_csv

from mlpkit.cli.main import run as command
from mlpkit.data.load import load_dataset

QUICK = ("model=mlp", "model.hidden=[4]", "trainer.epochs=2", "run.tensorboard=false", "run.plots=false")
RANDOM = np.random.default_rng(0)

Scored = Callable[..., str]


@pytest.fixture
def scored(capsys: pytest.CaptureFixture[str]) -> Scored:
    """Return what evaluate prints of some rows, without their name."""

    def run(path: Path, *arguments: str) -> str:
        capsys.readouterr()
        assert command(["evaluate", str(path), *arguments]) == 0
        printed = capsys.readouterr().out.replace("input", "test")
        lines = printed.splitlines()  # without the baselines, which need the training rows
        return " ".join(" ".join(lines[:4] + lines[lines.index("") :]).split())

    return run


@pytest.mark.long
@pytest.mark.parametrize("options", [(), ("dataset.size=[4,5]", "dataset.channels=1", "dataset.invert=true")])
def test_a_folder_for_each_class(
    options: tuple[str, ...], tmp_path: Path, scored: Scored, refused: Refused
) -> None:
    """As the training pictures were read."""
    for name in ("train", "val", "test"):
        draw(tmp_path / "set" / name, count=5)
    run = train(tmp_path, "dataset=image_folder", f"dataset.path={tmp_path / 'set'}", *options, *QUICK).path
    test = tmp_path / "set" / "test"
    assert scored(run, "--input", str(test)) == scored(run)
    one = scored(run, "--input", str(test), "--invert")
    assert (one != scored(run)) and "15 rows" in one
    draw(tmp_path / "few", names=("red",), count=3)
    assert "3 rows" in scored(run, "--input", str(tmp_path / "few"))
    draw(tmp_path / "other", names=("blue", "red"), count=1)
    (tmp_path / "other" / "blue").rename(tmp_path / "other" / "pink")
    (tmp_path / "flat").mkdir()
    for source, line in {
        "set": "set: holds train, val, test; name one of them",
        "other": "other/pink: no such class in training, which has blue, green, red; remove the folder",
        "flat": "flat: no folder in it; put the pictures of each class (blue, green, red) into a folder",
        "few/red/0.png": "few/red/0.png: a picture does not say its class; name a folder that holds a folder",
    }.items():
        assert refused("evaluate", str(run), "--input", source, code=65).startswith(line)
    line = refused("evaluate", str(run), "--input", "few", "--pixels", "255", code=2)
    assert line == "--pixels=255: only for tables and arrays; leave it out"


def test_pixels_in_a_table(
    trained: dict[str, Path], tmp_path: Path, scored: Scored, refused: Refused
) -> None:
    """From 0 to 1, or up to --pixels; with --keep they are predicted as without."""
    dataset = load_dataset(config("dataset=digits").dataset)
    split, names = dataset.splits["test"], dataset.input_schema.features
    rows = [
        dict(zip(names, (pixels * 16).int().tolist(), strict=True)) | {"label": label, "id": number}
        for number, (pixels, label) in enumerate(zip(split.inputs, split.targets.tolist(), strict=True))
    ]
    run, path = trained["digits"], write_csv(tmp_path / "digits.csv", rows)
    assert scored(run, "--input", str(path), "--pixels", "16") == scored(run)
    write_csv(path, map(without_id, rows))
    line = refused("evaluate", str(run), "--input", "digits.csv", code=65)
    assert line.startswith("digits.csv: pixels from 0 to 16, the model reads 0 to 1; add --pixels 16 if 16")
    line = refused("evaluate", str(run), "--pixels", "16", code=2)
    assert line == "--header, --no-header, --pixels and --invert: only with --input; leave them out"
    answers = []
    for keep in ([], ["--keep", "id"]):
        output = tmp_path / "out.csv"
        part = write_csv(tmp_path / "part.csv", [row if keep else without_id(row) for row in rows[:9]])
        given = ["predict", str(run), "--input", str(part), "--pixels", "16", "--output", str(output), *keep]
        assert command(given) == 0
        answers.append([without_id(row) for row in csv.DictReader(io.StringIO(output.read_text()))])
    assert answers[0] == answers[1]


def without_id(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "id"}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", ["texts", "integers", "numbers", "pictures"])
def test_arrays(kind: str, tmp_path: Path, scored: Scored) -> None:
    """Under the names that the training arrays had, or the usual ones."""
    inputs = (
        RANDOM.integers(0, 256, (60, 4, 5), dtype=np.uint8)
        if kind == "pictures"
        else RANDOM.normal(size=(60, 3))
    )
    y: Any = np.arange(60) % 3
    y = {"texts": np.array(["a", "b", "c"])[y], "numbers": RANDOM.normal(size=(60, 2))}.get(kind, y)
    parts = {"train": slice(0, 40), "val": slice(40, 45), "test": slice(45, 60)}
    usual = [("X", inputs), ("y", y)]
    arrays = {f"{name}_{part}": array[rows] for part, rows in parts.items() for name, array in usual}
    run = train(tmp_path, "dataset=arrays", f"dataset.path={save(tmp_path, **arrays)}", *QUICK).path
    whole = scored(run)
    assert scored(run, "--input", str(save(tmp_path, X=inputs[45:], y=y[45:], more=inputs))) == whole
    named = {f"{name}s_{part}": array[rows] for part, rows in parts.items() for name, array in usual}
    options = ("dataset.inputs=Xs", "dataset.target=ys")
    run = train(tmp_path, "dataset=arrays", f"dataset.path={save(tmp_path, **named)}", *options, *QUICK).path
    assert scored(run, "--input", str(save(tmp_path, X=inputs[45:], y=y[45:]))) == whole
    both = str(save(tmp_path, Xs=inputs[45:], ys=y[45:]))
    assert scored(run, "--input", both) == whole
    assert command(["predict", str(run), "--input", both, "--output", str(tmp_path / "p.csv")]) == 0
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 16


def test_arrays_that_do_not_fit(tmp_path: Path, refused: Refused, capsys: pytest.CaptureFixture[str]) -> None:
    inputs, y = RANDOM.normal(size=(60, 3)), np.arange(60) % 3
    run = train(tmp_path, "dataset=arrays", f"dataset.path={save(tmp_path, X=inputs, y=y)}", *QUICK).path
    np.save(tmp_path / "x.npy", inputs)
    (tmp_path / "folder").mkdir()
    capsys.readouterr()
    for arrays, line in (
        (
            {"X": inputs},
            "a.npz: no array y; it has X, but needs one array of inputs and one of targets, as",
        ),
        (
            {"X": inputs, "y": y, "Y": y},
            "a.npz: y, Y could all be meant; it has X, y, Y, but needs one array of",
        ),
        ({"X": inputs, "y": y[:9]}, "a.npz: y: 9 rows, but a.npz: X has 60; save one target for each row"),
        (
            {"X": inputs, "y": y + 0.5},
            "a.npz: y: float64 of shape (60,), the model predicts labels of 0, 1, 2 for label;",
        ),
        ({"X": inputs, "y": y + 1}, "a.npz: y: row 3: '3' is not a class; the classes are 0, 1, 2"),
        ({"X": inputs[:, :2], "y": y}, "a.npz: X: has shape (60, 2), the model reads (rows, 3); reshape it"),
    ):
        save(tmp_path, **arrays)
        assert refused("evaluate", str(run), "--input", "a.npz", code=65).startswith(line)
    line = refused("evaluate", str(run), "--input", "x.npy", code=65)
    assert line == "x.npy: a .npy holds only the inputs; save both with numpy.savez(FILE, X=…, y=…)"
    line = refused("evaluate", str(run), "--input", "folder", code=65)
    assert line == "folder: a folder, but the model reads the columns x1, x2, x3; name a file"
