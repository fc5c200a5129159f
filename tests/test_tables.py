"""However rows are written down, the model reads the same numbers from them."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mlpkit.data.arrays import read_arrays
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.tables import listed, match_columns, read_text
from mlpkit.errors import ConfigError, DataError

PAIR = InputSchema("binary", ("x1", "x2"), (2,), ("moon",), ("upper", "lower"))
ONE = InputSchema("regression", ("x",), (1,), ("y",))
IMAGE = InputSchema("multiclass", tuple(f"pixel{i}" for i in range(6)), (2, 3), ("label",), ("0", "1"))
ROWS = [[1.0, 2.0], [3.0, 4.0]]


def read(text: str, kind: str = "csv", input_schema: InputSchema = PAIR) -> list[list[float]]:
    tensor = read_text(text, "rows", kind, input_schema)
    assert tensor.dtype == torch.float32
    return tensor.tolist()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("csv", "x1,x2\n1,2\n3,4\n"),
        ("csv", "x1,x2\n1,2\n3,4"),
        ("csv", "x1,x2\r\n1,2\r\n3,4\r\n"),
        ("csv", "x1,x2\r1,2\r3,4\r"),
        ("csv", "\n\nx1,x2\n\n1,2\n\n3,4\n\n\n"),
        ("csv", '"x1","x2"\n"1","2"\n"3","4"\n'),
        ("csv", '"x1","x2"\n"1\n",2\n3,"\n4"\n'),
        ("csv", " x1 , x2 \n 1 , 2 \n\t3,4\n"),
        ("csv", "x2,x1\n2,1\n4,3\n"),
        ("csv", "moon,x2,x1\nupper,2,1\n,4,3\n"),
        ("csv", "1.0,2\n3,4\n"),
        ("csv", "x1,x2\n1e0,+2.\n.3e1,400E-2\n"),
        ("json", '[{"x1": 1, "x2": 2}, {"x1": 3, "x2": 4}]'),
        ("json", '[{"x1": 1, "x2": 2}, {"x2": 4, "x1": 3}]'),
        ("json", '[{"moon": null, "x2": 2, "x1": "1"}, {"x2": " 4 ", "x1": 3, "moon": "upper"}]'),
        ("json", '{"x2": [2, 4], "x1": [1, 3]}'),
        ("json", "[[1, 2], [3, 4]]"),
        ("json", '[[1, 2], {"x2": 4, "x1": 3}]'),
        ("jsonl", '{"x1": 1, "x2": 2}\n{"x2": 4, "x1": 3}\n'),
        ("jsonl", '\r\n{"x1": 1, "x2": 2}\r\n\r\n{"x1": 3, "x2": 4}'),
        ("jsonl", "[1, 2]\n[3, 4]\n"),
        ("json", '{"columns": ["x2", "x1"], "index": [7, 9], "data": [[2, 1], [4, 3]]}'),
        ("json", '{"columns": ["x1", "x2"], "data": [[1, 2], [3, 4]]}'),
        ("json", '{"x2": {"7": 2, "9": 4}, "x1": {"9": 3, "7": 1}}'),
        ("json", '{"7": {"x1": 1, "x2": 2}, "9": {"x2": 4, "x1": 3}}'),
        (
            "json",
            '{"schema": {"fields": [], "primaryKey": ["index"]}, "data": '
            '[{"index": 7, "x1": 1, "x2": 2}, {"index": 9, "x1": 3, "x2": 4}]}',
        ),
        ("jsonl", '{"x1": 1, "x2": 2, "moon": "\u2028"}\n{"x1": 3, "x2": 4, "moon": "a"}\n'),
    ],
)
def test_the_same_rows(kind: str, text: str) -> None:
    assert read(text, kind) == ROWS


@pytest.mark.parametrize("first", ["0,1", "1,2"])
def test_a_first_line_that_may_be_names_or_a_row(first: str) -> None:
    """As pandas and others number columns that have no name."""
    text = f"{first}\n0.5,0.25\n"
    with pytest.raises(DataError) as caught:
        read(text)
    shown = first.replace(",", ", ")
    assert str(caught.value) == (
        f"rows: its first line, {shown}, may be names or a row; choose with --header or --no-header"
    )
    row = [float(cell) for cell in first.split(",")]
    assert read_text(text, "rows", "csv", PAIR, has_header=True).tolist() == [[0.5, 0.25]]
    assert read_text(text, "rows", "csv", PAIR, has_header=False).tolist() == [row, [0.5, 0.25]]
    assert read(f"{first}\n") == [row]  # alone it is no header


def test_names_that_are_numbers_are_names_where_the_model_has_them() -> None:
    numbered = InputSchema("binary", ("0", "1"), (2,), ("moon",), ("upper", "lower"))
    assert read("1,0\n0.5,0.25\n", input_schema=numbered) == [[0.25, 0.5]]


def test_what_is_said_of_a_header_is_obeyed() -> None:
    with pytest.raises(DataError, match="column x1: 'x1' is not a plain number"):
        read_text("x1,x2\n1,2\n", "rows", "csv", PAIR, has_header=False)
    with pytest.raises(DataError, match=r"columns missing: x1, x2; it has 5, 3"):
        read_text("5,3\n1,2\n", "rows", "csv", PAIR, has_header=True)
    with pytest.raises(ConfigError, match=r"--no-header: only for csv; rows is json"):
        read_text("[[1,2]]", "rows", "json", PAIR, has_header=False)


def test_one_object_is_one_row() -> None:
    assert read('{"x1": 1, "x2": 2}', "json") == [[1.0, 2.0]]


def test_a_file_of_one_column() -> None:
    assert read("x\n1\n2\n\n\n", input_schema=ONE) == [[1.0], [2.0]]
    assert read("3\n2", input_schema=ONE) == [[3.0], [2.0]]
    with pytest.raises(DataError) as caught:  # a blank line between the rows is a value left out
        read("x\n1\n\n2\n", input_schema=ONE)
    assert str(caught.value) == "rows:3: column x: no value; fill it in or remove the row"


def test_the_largest_numbers() -> None:
    assert read("x1,x2\n3.4028235e38,-3.4028235e38\n") == [
        [torch.finfo(torch.float32).max, -3.4028234663852886e38]
    ]
    assert read("x1,x2\n1e-400,-0\n") == [[0.0, 0.0]]
    assert read("[[1e38, 100000000000000000000000000000000000000]]", "json") == [[np.float32(1e38)] * 2]


def test_numbers_survive_each_format(tmp_path: Path) -> None:
    values = torch.randn(200, 6, generator=torch.Generator().manual_seed(0)) * 10.0 ** torch.arange(
        -30, 30, 10
    )
    names, rows = list(IMAGE.features), [[float(str(v)) for v in row] for row in values.numpy()]
    stream = io.StringIO()
    csv.writer(stream).writerows([names, *rows])
    records = [dict(zip(names, row, strict=True)) for row in rows]
    for kind, text in {
        "csv": stream.getvalue(),
        "json": json.dumps(records),
        "jsonl": "\n".join(json.dumps(record) for record in records),
    }.items():
        assert torch.equal(read_text(text, "rows", kind, IMAGE), values), kind
    np.save(tmp_path / "a.npy", values.numpy())
    np.savez(tmp_path / "a.npz", **{name: values.numpy()[:, i] for i, name in enumerate(names)})
    np.savez_compressed(tmp_path / "b.npz", inputs=values.double().numpy(), targets=np.zeros(3))
    for name in ("a.npy", "a.npz", "b.npz"):
        assert torch.equal(read_arrays(tmp_path / name, IMAGE), values), name


@pytest.mark.parametrize(
    "array",
    [
        np.array(ROWS),
        np.array(ROWS, "float16"),
        np.array(ROWS, ">f8"),
        np.array(ROWS, "longdouble"),
        np.array(ROWS, "int8"),
        np.array(ROWS, "uint64"),
        np.array(ROWS, "uint8"),  # numbers, for a model that does not read pictures
        np.asfortranarray(ROWS),
        np.array(ROWS)[:, None, :],
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_arrays_of_any_kind(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    assert read_arrays(tmp_path / "a.npy", PAIR).tolist() == ROWS
    np.savez(tmp_path / "a.npz", anything=array)
    assert read_arrays(tmp_path / "a.npz", PAIR).tolist() == ROWS


def test_columns_of_an_npz_are_matched_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", moon=np.array(["upper", "lower"]), x2=[2, 4], x1=[1, 3])
    assert read_arrays(tmp_path / "a.npz", PAIR).tolist() == ROWS


def test_one_row_and_one_column(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", [1.0, 2.0])
    assert read_arrays(tmp_path / "a.npy", PAIR).tolist() == [[1.0, 2.0]]
    assert read_arrays(tmp_path / "a.npy", ONE).tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize("shape", [(2, 3), (1, 6), (1, 2, 3), (1, 2, 3, 1)])
def test_pixels_are_bytes_or_fractions(shape: tuple[int, ...], tmp_path: Path) -> None:
    pixels = np.array([0, 51, 102, 153, 204, 255], "uint8")
    np.save(tmp_path / "a.npy", pixels.reshape(shape))
    np.save(tmp_path / "b.npy", (pixels / 255).reshape(shape))
    expected = torch.tensor([[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]])
    for name in ("a.npy", "b.npy"):
        assert torch.equal(read_arrays(tmp_path / name, IMAGE), expected)


def test_reading_an_array_keeps_no_hold_on_the_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array(ROWS))
    found = read_arrays(tmp_path / "a.npy", PAIR)
    np.save(tmp_path / "a.npy", np.zeros((2, 2)))
    assert found.tolist() == ROWS


def test_columns_are_matched_by_name_and_only_by_name() -> None:
    assert match_columns(["moon", "x2", "x1"], PAIR, "rows") == [2, 1]
    with pytest.raises(DataError, match="appears twice"):
        match_columns(["x1", "x2", "moon", "moon"], PAIR, "rows")


def test_long_lists_of_names_are_cut() -> None:
    assert listed([]) == "none"
    assert listed(["a", "", "b\n"]) == "a, '', 'b\\n'"
    assert listed([f"c{i}" for i in range(9)]) == "c0, c1, c2, …, c8"
