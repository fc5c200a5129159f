"""What --input may be: tables by their ending, stdin by its first character, pictures, folders of them."""

import csv
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mlpkit.cli.main import run as command
from mlpkit.data.inputs import parse_values, read_inputs, read_picture
from mlpkit.predict import load_predictor
from mlpkit.signature import Signature

PAIR = Signature("binary", ("x1", "x2"), (2,), ("moon",), ("upper", "lower"))
IMAGE = Signature("multiclass", tuple(f"pixel{i}" for i in range(6)), (2, 3), ("label",), ("0", "1"))
ROWS = [[1.0, 2.0], [3.0, 4.0]]
PIXELS = np.array([[0, 51, 102], [153, 204, 255]], "uint8")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "x1,x2\n1,2\n3,4\n"),
        ("a.CSV", "x1,x2\n1,2\n3,4\n"),
        ("a.b.json", "[[1,2],[3,4]]"),
        ("a.jsonl", "[1,2]\n[3,4]\n"),
        ("with bom.csv", "\ufeffx1,x2\n1,2\n3,4\n"),
        ("with bom.json", "\ufeff[[1,2],[3,4]]"),
        ("with bom.jsonl", "\ufeff[1,2]\n[3,4]"),
    ],
)
def test_a_file_is_read_by_its_ending(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = read_inputs(str(tmp_path / name), PAIR)
    assert (found.values.tolist(), found.names) == (ROWS, ())


@pytest.mark.parametrize(
    "text",
    [
        "x1,x2\n1,2\n3,4\n",
        "1,2\n3,4",
        "\ufeffx2,x1\r\n2,1\r\n4,3\r\n",
        "[[1,2],[3,4]]",
        "[\n[1,2],\n[3,4]\n]",
        "[[1,2]\n,[3,4]]",
        '\n {"x1":[1,3],"x2":[2,4]}',
        '{\n"x1":[1,3],\n"x2":[2,4]\n}\n',
        '{"x1":1,"x2":2}\n{"x1":3,"x2":4}\n',
        "[1,2]\n\n[3,4]\n",
        "\ufeff[1,2]\n[3,4]\n",
    ],
)
def test_stdin_is_told_apart_by_its_content(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert read_inputs("-", PAIR).values.tolist() == ROWS


def test_values_are_in_the_order_of_the_features() -> None:
    assert parse_values(["1,2", " 3 , 4e0 "], PAIR).values.tolist() == ROWS
    assert parse_values(["-1,+.5"], PAIR).values.tolist() == [[-1.0, 0.5]]


@pytest.mark.parametrize("kind", ["L", "1"])
def test_pixels_of_a_picture(kind: str, tmp_path: Path) -> None:
    pixels = PIXELS if kind == "L" else np.where(PIXELS > 127, 255, 0).astype("uint8")
    Image.fromarray(pixels).convert(kind).save(tmp_path / "a.png")
    expected = torch.from_numpy(pixels.flatten().astype("float32") / 255)
    assert torch.equal(read_picture(tmp_path / "a.png", IMAGE), expected)
    found = read_inputs(str(tmp_path / "a.png"), IMAGE)
    assert torch.equal(found.values, expected[None]) and found.names == ("a.png",)


def test_a_jpeg_is_close_to_its_pixels(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.JPG", quality=100)
    found = read_inputs(str(tmp_path / "a.JPG"), IMAGE).values
    torch.testing.assert_close(found, torch.from_numpy(PIXELS.reshape(1, 6) / 255).float(), atol=0.02, rtol=0)


def test_a_folder_is_read_by_name(tmp_path: Path) -> None:
    for shade, name in enumerate(("b.png", "a.PNG", "c.jpeg")):
        Image.new("L", (3, 2), shade * 51).save(tmp_path / name)
    (tmp_path / "note.txt").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    found = read_inputs(str(tmp_path), IMAGE)
    assert found.names == ("a.PNG", "b.png", "c.jpeg")
    torch.testing.assert_close(found.values[:, 0], torch.tensor([0.2, 0.0, 0.4]), atol=0.02, rtol=0)


def test_names_of_pictures_can_be_written(trained: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in (b"\xff.png", "ü.png".encode(), b"a,b.png"):
        Image.new("L", (8, 8)).save(tmp_path / "in" / os.fsdecode(name))
    assert command(["predict", str(trained["digits"]), "--input", str(tmp_path / "in")]) == 0
    for ending in ("csv", "jsonl", "npz"):
        output = tmp_path / f"out.{ending}"
        arguments = ["--input", str(tmp_path / "in"), "--output", str(output)]
        assert command(["predict", str(trained["digits"]), *arguments]) == 0
        assert list(read_back(output, "file", "str")) == ["a,b.png", "ü.png", "\\xff.png"]


def test_a_picture_is_read_without_a_warning_left_behind(tmp_path: Path) -> None:
    """The limits of Pillow are used for one file, and as they were afterwards."""
    before = Image.MAX_IMAGE_PIXELS
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    read_picture(tmp_path / "a.png", IMAGE)
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    ("way", "ending"),
    [
        (("--input", "in.csv"), "csv"),
        (("--input", "-"), "jsonl"),
        (("--values", "0.25,0.5", "--values", "2,-1"), "npz"),
    ],
)
def test_what_is_predicted_does_not_depend_on_the_form(
    way: tuple[str, ...],
    ending: str,
    trained: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same two points from a file, from stdin and as values, into each kind of file."""
    text = "moon,x2,x1\n?,0.5,0.25\n?,-1,2\n"
    (tmp_path / "in.csv").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert command(["predict", str(trained["moons"]), *way, "--output", f"out.{ending}"]) == 0
    assert capsys.readouterr() == (f"2 predictions: out.{ending}\n", "")
    predictor, _ = load_predictor(trained["moons"] / "checkpoints" / "best.safetensors")
    expected = predictor.predict(torch.tensor([[0.25, 0.5], [2.0, -1.0]]))
    assert expected.probabilities is not None
    found = read_back(Path(f"out.{ending}"), "p(lower)")
    np.testing.assert_array_equal(found, expected.probabilities[:, 1].numpy())


def read_back(path: Path, column: str, kind: str = "float32") -> np.ndarray:
    if path.suffix == ".npz":
        return np.load(path)[column]
    with path.open(newline="") as stream:
        rows = csv.DictReader(stream) if path.suffix == ".csv" else map(json.loads, stream)
        return np.array([row[column] for row in rows], kind)
