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

from mlpkit.analysis.predict import load_predictor
from mlpkit.cli.main import run as command
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.inputs import ReadOptions, parse_values, read_inputs
from mlpkit.data.pictures import read_picture
from mlpkit.errors import ConfigError, DataError

PAIR = InputSchema("binary", ("x1", "x2"), (2,), ("moon",), ("upper", "lower"))
IMAGE = InputSchema("multiclass", tuple(f"pixel{i}" for i in range(6)), (2, 3), ("label",), ("0", "1"))
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
        "1,2.0\n3,4",
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
    assert torch.equal(read_picture(tmp_path / "a.png", IMAGE)[0], expected)
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


WHOLE = np.array([[0, 51, 102, 153, 204, 255]])
READS = "the model reads 0 to 1; "


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (WHOLE, f"0 to 255, {READS}add --pixels 255 if 255 is the largest possible pixel"),
        (WHOLE / 1.3, f"0 to 196.154, {READS}add --pixels 255 if 255 is the largest possible pixel"),
        (WHOLE // 17, f"0 to 15, {READS}add --pixels 16 if 16 is the largest possible pixel"),
        (WHOLE.astype("uint16") * 257, f"0 to 65535, {READS}add --pixels 65535 if 65535 is the largest "
                                       "possible pixel"),
        (WHOLE * 1000, f"0 to 255000, {READS}divide them by the largest possible pixel"),
        (WHOLE.astype("uint8").astype("int8"), f"-103 to 102, {READS}these seem to be bytes as int8, in "
                                               "which values above 127 become negative: save them as uint8"),
        (WHOLE / 127.5 - 1, f"-1 to 1, {READS}these seem to be scaled to -1 to 1: add 1 and divide by 2"),
        ((WHOLE / 255 - 0.13) / 0.31, f"-0.419355 to 2.80645, {READS}these seem to be standardised, which "
                                      "the model does itself: give the original pixels"),
        (WHOLE / 250, f"0 to 1.02, {READS}some are slightly above 1: clip them"),
    ],
)  # fmt: skip
def test_advice_fits_the_pixels(pixels: np.ndarray, said: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", pixels)
    with pytest.raises(DataError) as caught:
        read_inputs(str(tmp_path / "a.npy"), IMAGE)
    assert str(caught.value) == f"{tmp_path / 'a.npy'}: pixels from {said}"


def test_the_largest_pixel_may_be_said(tmp_path: Path) -> None:
    expected = torch.tensor([[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]])
    (tmp_path / "a.csv").write_text(",".join(IMAGE.features) + "\n0,51,102,153,204,255\n")
    np.save(tmp_path / "a.npy", WHOLE)
    np.save(tmp_path / "bytes.npy", WHOLE.astype("uint8"))
    for name in ("a.csv", "a.npy", "bytes.npy"):
        assert torch.equal(
            read_inputs(str(tmp_path / name), IMAGE, ReadOptions(max_pixel=255)).values, expected
        )
    said = ReadOptions(max_pixel=255)
    assert torch.equal(parse_values(["0,51,102,153,204,255"], IMAGE, said).values, expected)
    with pytest.raises(DataError, match="add --pixels 255"):
        parse_values(["0,51,102,153,204,255"], IMAGE)
    with pytest.raises(
        DataError, match="pixels from 0 to 255, and --pixels 16 reads 0 to 16; give the largest"
    ):
        read_inputs(str(tmp_path / "a.csv"), IMAGE, ReadOptions(max_pixel=16))


def test_pictures_that_are_dark_on_light(tmp_path: Path) -> None:
    """A bright border is warned of; --invert turns the picture round, and ends the warning."""
    frame = InputSchema("multiclass", tuple(f"pixel{i}" for i in range(9)), (3, 3), ("label",), ("0", "1"))
    light = np.array([[[0, 0, 0], [0, 1, 0], [0, 0, 0]]])
    np.save(tmp_path / "light.npy", light)
    np.save(tmp_path / "dark.npy", np.concatenate([1 - light, 1 - light, light]))
    Image.fromarray((255 - 255 * light[0]).astype("uint8")).save(tmp_path / "dark.png")
    said: list[str] = []
    read_inputs(str(tmp_path / "light.npy"), frame, warn=said.append)
    assert said == []
    found = read_inputs(str(tmp_path / "dark.npy"), frame, warn=said.append).values
    read_inputs(str(tmp_path / "dark.png"), frame, warn=said.append)
    reads = "and the model reads light on dark; add --invert if they are dark on light"
    assert said == [
        f"warning: {tmp_path / 'dark.npy'}: 2 of 3 pictures have a bright border, {reads}",
        f"warning: {tmp_path / 'dark.png'}: 1 of 1 pictures have a bright border, {reads}",
    ]
    assert torch.equal(found[2], torch.from_numpy(light).float().flatten())
    for name in ("dark.npy", "dark.png"):
        turned = read_inputs(str(tmp_path / name), frame, ReadOptions(inverted=True), said.append).values
        assert torch.equal(turned[0], torch.from_numpy(light).float().flatten())
    assert len(said) == 2


def test_bytes_that_are_hardly_lighter_than_black_are_warned_of(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", (WHOLE // 17).astype("uint8"))
    said: list[str] = []
    read_inputs(str(tmp_path / "a.npy"), IMAGE, warn=said.append)
    assert said == [
        f"warning: {tmp_path / 'a.npy'}: the brightest pixel is 0.059, and the model's reach 1; --pixels N "
        "sets the largest possible pixel"
    ]


@pytest.mark.parametrize(
    ("source", "input_schema", "options", "said"),
    [
        (
            "a.npy",
            PAIR,
            ReadOptions(max_pixel=255),
            "--pixels=255: the model does not read pictures, but the columns x1",
        ),
        (
            "a.npy",
            PAIR,
            ReadOptions(inverted=True),
            "--invert: the model does not read pictures, but the columns x1, x2",
        ),
        ("a.npy", PAIR, ReadOptions(has_header=True), "--header: only for csv; leave it out"),
        ("a.png", IMAGE, ReadOptions(max_pixel=16), "--pixels=16: only for tables and arrays; leave it out"),
        (".", IMAGE, ReadOptions(max_pixel=16), "--pixels=16: only for tables and arrays; leave it out"),
    ],
)
def test_what_does_not_go_with_the_input_is_refused(
    source: str, input_schema: InputSchema, options: ReadOptions, said: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", ROWS)
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    with pytest.raises(ConfigError) as caught:
        read_inputs(str(tmp_path / source), input_schema, options)
    assert str(caught.value).startswith(said)


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
