"""A table that is read in portions is the table that is read whole: its columns, types, values and errors."""

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from mlpkit.data import csv_table, json_portions, json_table, table_portions
from mlpkit.data.table_file import MISSING, TableFile, read_table
from mlpkit.data.table_format import TableFormat
from mlpkit.data.table_portions import open_table
from mlpkit.errors import DataError, MlpkitError

ROWS = 2000


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read small blocks, and infer types from the first few lines: a file of 2,000 rows has many portions."""
    monkeypatch.setattr(csv_table, "SAMPLE", 300)
    monkeypatch.setattr(csv_table, "LONGEST", 4096)
    monkeypatch.setattr(json_table, "LONGEST", 4096)
    monkeypatch.setattr(json_portions, "LONGEST", 4096)
    monkeypatch.setattr(table_portions, "ROWS", 70)


def whole_or_error(read: Callable[[], TableFile]) -> TableFile | str:
    try:
        return read()
    except MlpkitError as error:
        return str(error)


def portions_or_error(path: Path, wanted: set[str]) -> tuple[list[str], list[TableFile]] | str:
    try:
        found = open_table(str(path), TableFormat(), MISSING, wanted)
        return found.names, list(found.read())
    except MlpkitError as error:
        return str(error)


def check(path: Path, *wanted: str) -> TableFile | str:
    """Check that both ways give the same; return what reading the whole file gives."""
    whole = whole_or_error(lambda: read_table([str(path)]))
    names = set(wanted) or ({*whole.names} if isinstance(whole, TableFile) else {"a", "b"})
    found = portions_or_error(path, names)
    if isinstance(whole, str) or isinstance(found, str):
        assert found == whole
        return whole
    columns, parts = found
    assert columns == whole.names
    expected = whole.table.select([name for name in whole.names if name in names])
    table = pa.concat_tables([part.table for part in parts]).select(expected.column_names)
    assert table.schema == expected.schema
    assert table.combine_chunks().equals(expected.combine_chunks())
    assert {part.format for part in parts} == {whole.format}
    before = 0
    for part in parts:
        assert part.locate(0) == whole.locate(before)
        before += len(part.table)
    return whole


def column(first: str, later: str = "") -> list[str]:
    """Most rows have one value; a later one has another."""
    return [first] * (ROWS - 10) + [later or first] * 10


TURNS = {  # a value near the start, one far down, and the type of a column with both
    "ints": ("1", "2", pa.int64()),
    "fractions": ("1", "1.5", pa.float64()),
    "words": ("1", "one", pa.string()),
    "yes": ("1", "true", pa.bool_()),
    "number or yes": ("2", "true", pa.string()),
    "late": ("", "7", pa.int64()),
    "late day": ("", "2024-02-29", pa.date32()),
    "late fraction": ("NA", "0.5", pa.float64()),
    "day and time": ("2024-02-29", "2024-02-29 10:00:00", pa.timestamp("s")),
    "finer time": ("2024-02-29 10:00:00", "2024-02-29 10:00:00.25", pa.timestamp("ns")),
    "no day": ("2024-02-29", "soon", pa.string()),
    "none": ("", "NA", pa.null()),
    "spaces": ("  x ", " y", pa.string()),
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_csv_column_has_the_type_that_all_its_values_have(turn: str, tmp_path: Path) -> None:
    first, later, kind = TURNS[turn]
    path = tmp_path / "a.csv"
    path.write_text("n,a\n" + "".join(f"{n},{text}\n" for n, text in enumerate(column(first, later))))
    found = check(path)
    assert isinstance(found, TableFile)
    assert found.table.schema.field("a").type == kind


def test_columns_that_turn_at_random_places(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = sorted({text for first, later, _ in TURNS.values() for text in (first, later)})
    columns = []
    for _ in range(7):
        places = np.sort(random.integers(0, ROWS, 2))
        texts = random.choice(values, 3)
        columns.append([str(texts[np.searchsorted(places, row)]) for row in range(ROWS)])
    path = tmp_path / "a.csv"
    header = ",".join(f"c{index}" for index in range(7))
    path.write_text(f"{header}\n" + "\n".join(map(",".join, zip(*columns, strict=True))) + "\n")
    assert isinstance(check(path), TableFile)
    assert isinstance(check(path, "c3", "c6", "not there"), TableFile)
    assert isinstance(check(path, "not there"), TableFile)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "a;b\r\n" + "1,5;x\r\n" * ROWS),
        ("a.tsv", "a\tb\n" + "1\t2\n" * ROWS),
        ("a.csv", "\n\n,a,b\n" + "".join(f"{n},1,x\n" for n in range(ROWS))),
        ("a.csv", ",a,b\n" + ",1,x\n" * ROWS),  # a column without a name and without values is left out
        ("a.csv", "a,b\n" + ",1\n" * (ROWS - 1) + "q,1"),
        ("a.csv", "a,b\n" + '1,"two\nlines, and ""quotes"""\n' * ROWS + '2,5" disk\n'),
        ("a.csv", "a,b\n" + "1,2\n\n" * ROWS),
        ("a.csv", "1.5,x\n" * ROWS),
        ("a.csv", "a,b\n" + "1,café\n" * ROWS),
        ("a.csv", "a,b\n" + "1,2\n" * ROWS + "1,2,3\n" + "1,2\n" * ROWS),
        ("a.csv", "a,b\n" + "1,2\n" * ROWS + '1,"2\n'),
        ("a.csv", "a,b\n" + "1,2\n" * ROWS + "1,\0\n"),
        ("a.csv", "a,a\n" + "1,2\n" * ROWS),
        ("a.csv", "a,b\n"),
        ("a.csv", ""),
        ("a.csv", "0,1\n" + "1,2\n" * ROWS),
    ],
)
def test_texts(name: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode())
    check(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "utf-16"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(("a,b\n" + "1,café\n" * ROWS).encode(encoding))
    found = check(path)
    assert isinstance(found, TableFile) and found.table["b"][-1].as_py() == "café"


def test_a_text_that_turns_out_not_to_be_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n" + b"1,x\n" * ROWS + "2,é\n".encode("cp1252"))
    found = check(path)
    assert isinstance(found, TableFile) and found.table["b"][-1].as_py() == "é"
    path.write_bytes("a,b\n1,é\n".encode() + b"1,x\n" * ROWS + "2,é\n".encode("cp1252"))
    assert check(path) == f"{path}:{ROWS + 3}: not utf-8; save it as UTF-8 or set dataset.encoding"


def test_a_text_that_changes_between_the_readings(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "1,x\n" * ROWS)
    found = open_table(str(path), TableFormat(), MISSING, {"a"})
    path.write_text("a,b\n" + "one,x\n" * ROWS)
    with pytest.raises(DataError, match=r"a\.csv: was changed while it was read; try again"):
        list(found.read())


def test_compressed_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(("a,b\n" + "1,x\n" * ROWS).encode()))
    assert isinstance(check(path), TableFile)
    path.write_bytes(path.read_bytes()[:-20])
    assert isinstance(check(path), str)


@pytest.mark.parametrize(
    "content", ["a,b\n" + "1,x\n" * ROWS, '{"a": 1}\n' * ROWS, '[{"a": 1}, {"a": 2}]', "a,b\n"]
)
def test_stdin(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    check(Path("-"))


JSON_TURNS = {
    "ints": (1, 2),
    "fractions": (1, 1.5),
    "late": (None, 7),
    "none": (None, None),
    "dates": ("2024-02-29", "2024-02-29 10:00"),
    "no day": ("2024-02-29", "soon"),
    "late text": (None, "soon"),
    "yes": (True, False),
    "number or text": (1, "one"),
    "text or number": ("one", 1.5),
    "number or yes": (1, True),
    "a list": (1, [1]),
    "an object": (None, {"x": 1}),
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("turn", JSON_TURNS)
def test_json_lines_have_the_types_that_all_values_have(turn: str, tmp_path: Path) -> None:
    first, later = JSON_TURNS[turn]
    rows = [{"n": n, "a": first if n < ROWS - 10 else later} for n in range(ROWS)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    check(path)
    check(path, "n")


@pytest.mark.parametrize(
    "lines",
    [
        ['{"a": 1}'] * ROWS + ['{"a": 1, "b": "x"}'] * 10 + ['{"b": "y"}'],
        ['{"a": 1}'] * ROWS + ["", "  "] * 3000 + ['{"a": 2}'],
        ['{"a": 1}'] * ROWS + ['{"a": 1'],
        ['{"a": 1}'] * ROWS + ["[1]"],
        pytest.param(
            ['{"a": 1}'] * ROWS + ['{"a": ' + "[" * 5000 + "]" * 5000 + "}"],
            marks=pytest.mark.skipif(sys.version_info >= (3, 14), reason="it reads what is nested so deep"),
        ),
        ['{"a": 1}'] * ROWS + ['{"a": 1, "a": 2}'],
        ['{"a": 1e400}'] * 3,
        [""],
    ],
)
def test_lines(lines: list[str], tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines))
    check(path)


def typed_table() -> pa.Table:
    random = np.random.default_rng(0)
    return pa.table(
        {
            "x": random.normal(size=ROWS),
            "day": pa.array(random.integers(0, 9999, ROWS), pa.int32()).cast(pa.date32()),
            "a.b": pa.array(random.choice(["p", "q", " NA "], ROWS)).dictionary_encode(),
            "__index_level_0__": np.arange(ROWS),
        }
    )


def test_parquet(tmp_path: Path) -> None:
    path, table = tmp_path / "a.parquet", typed_table()
    parquet.write_table(table, path, row_group_size=300)
    for wanted in ((), ("a.b",), ("not there",)):
        found = open_table(str(path), TableFormat(), MISSING, set(wanted))
        assert found.names == ["x", "day", "a.b"]
    assert isinstance(check(path), TableFile)
    assert isinstance(check(path, "a.b", "x"), TableFile)
    parquet.write_table(table.slice(0, 0), path)
    assert check(path) == f"{path}: no rows; a table has a line for each"
    path.write_bytes(b"PAR1" + b"\0" * 100)
    assert isinstance(check(path), str)


def write_arrow(kind: str, table: pa.Table, path: Path) -> None:
    if kind == "old feather":
        feather.write_feather(table.select(["x", "day"]), path, version=1)
        return
    options = pa.ipc.IpcWriteOptions(compression="lz4" if kind == "packed file" else None)
    new = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
    with pa.OSFile(str(path), "wb") as stream, new(stream, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=300)


@pytest.mark.parametrize("rows", [1, 3])
def test_categories_of_string_views(rows: int, tmp_path: Path) -> None:
    """As polars writes them."""
    path, names = tmp_path / "a.arrow", pa.array(["p", "q"], pa.string_view())
    indices = pa.array([0, 1, None, 1][:rows], pa.uint32())
    table = pa.table({"a": pa.DictionaryArray.from_arrays(indices, names), "b": [0.5] * rows})
    write_arrow("file", table, path)
    whole = check(path)
    assert isinstance(whole, TableFile)
    assert whole.table["a"].to_pylist() == ["p", "q", None, "q"][:rows]


@pytest.mark.filterwarnings("ignore:Feather V1")
@pytest.mark.parametrize("kind", ["file", "packed file", "stream", "old feather"])
def test_arrow(kind: str, tmp_path: Path) -> None:
    path, table = tmp_path / "a.arrow", typed_table()
    write_arrow(kind, table, path)
    names = ["x", "day"] if kind == "old feather" else ["x", "day", "a.b"]
    for wanted in ((), ("day",), ("not there",)):
        assert open_table(str(path), TableFormat(), MISSING, set(wanted)).names == names
    assert isinstance(check(path), TableFile)
    assert isinstance(check(path, *names[::-2]), TableFile)
    content = path.read_bytes()
    for damaged in (content[:100], content[: len(content) // 2], b"ARROW1" + b"\0" * 100):
        path.write_bytes(damaged)
        assert isinstance(check(path), str)
    write_arrow(kind, table.slice(0, 0), path)
    assert check(path) == f"{path}: no rows; a table has a line for each"


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet", ".arrow"])
def test_little_memory_is_needed(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(csv_table, "LONGEST", 1 << 17)
    monkeypatch.setattr(json_portions, "LONGEST", 1 << 17)
    path, rows = tmp_path / f"a{ending}", 40_000
    values = np.random.default_rng(0).normal(size=(rows, 4)).round(6)
    table = pa.table({f"x{i}": values[:, i] for i in range(4)})
    if ending == ".parquet":
        parquet.write_table(table, path, row_group_size=5000, use_dictionary=False)
    elif ending == ".arrow":
        feather.write_feather(table, str(path), compression="uncompressed", chunksize=5000)
    elif ending == ".csv":
        from pyarrow import csv

        csv.write_csv(table, path)
    else:
        path.write_text("\n".join(map(json.dumps, table.to_pylist())))
    del table
    before, most, found = pa.total_allocated_bytes(), 0, 0
    for part in open_table(str(path), TableFormat(), MISSING, {"x0", "x1", "x2", "x3"}).read():
        found += len(part.table)
        most = max(most, pa.total_allocated_bytes() - before)
    assert found == rows
    assert most < values.nbytes
