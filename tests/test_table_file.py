"""Somebody's table is read as it is, whatever kind of file holds it, or refused in one line."""

import gzip
import io
import json
import os
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

from mlpkit.data.table_file import TableFile, TableFormat, describe_format, read_table
from mlpkit.errors import ConfigError, DataError

COLUMNS = {"age": [41, None, 30], "city": ["Oslo", "Rome", None], "score": [0.5, -2.0, 1e3]}
FIRST, SECOND, THIRD = (
    json.dumps(dict(zip(COLUMNS, row, strict=True))) for row in zip(*COLUMNS.values(), strict=True)
)
MIXED = "column a: 'x' is text, earlier rows have a number; write one kind, and null for missing values"
NESTED = "nested too deep for a table; correct it"
LIKE = 'is not a row; write it like {"age": 41, "city": "Oslo"}'
MANY = "a,b\n" + "1,2\n" * 300_000
CSV = "age,city,score\n41,Oslo,0.5\n,Rome,-2\n30,NA,1e3\n"

Read = Callable[..., TableFile]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Write a file and read it as a table."""
    monkeypatch.chdir(tmp_path)

    def run(content: str | bytes, name: str = "t.csv", **said: Any) -> TableFile:
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
        return read_table([name], TableFormat(**said))

    return run


def columns(file: TableFile) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = file.table.to_pydict()
    return found


def refusal(read: Read, content: str | bytes, name: str = "t.csv", **said: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(content, name, **said)
    (line,) = caught.value.args
    assert line.isprintable() and len(line) < 500
    return str(line)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", CSV),
        ("t.csv", CSV.replace("\n", "\r\n")),
        ("t.csv", CSV.replace("\n", "\r")),
        ("t.csv", "\n\n" + CSV + "\n\n"),
        ("t.csv", CSV.rstrip()),
        ("t.csv", "\ufeff" + CSV),
        ("t.csv", CSV.replace(",", " , ")),
        ("t.csv", '"age","city","score"\n"41","Oslo",".5"\n"","Rome","-2"\n"30","NA","1e3"\n'),
        ("t.csv", "age;city;score\n41;Oslo;0,5\n;Rome;-2\n30;?;1e3\n"),
        ("t.tsv", CSV.replace(",", "\t")),
        ("t.txt", CSV.replace(",", "|")),
        ("t.txt", CSV.replace(",", " ").replace(" Rome", "NA Rome")),
        ("t.jsonl", f"{FIRST}\n\n{SECOND}\n{THIRD}"),
        ("t.json", f"[{FIRST}, {SECOND}, {THIRD}]"),
        ("t.json", json.dumps(COLUMNS)),
        ("t.json", json.dumps({"columns": list(COLUMNS), "data": list(zip(*COLUMNS.values(), strict=True))})),
        ("t.json", f'{{"0": {FIRST}, "1": {SECOND}, "2": {THIRD}}}'),
        ("t.json", json.dumps({name: dict(enumerate(values)) for name, values in COLUMNS.items()})),
    ],
)  # fmt: skip
def test_the_same_table(read: Read, name: str, text: str) -> None:
    file = read(text, name)
    assert columns(file) == COLUMNS
    assert file.table["age"].type == pa.int64()
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="w") as stream:
        stream.write(text.encode())
    assert columns(read(packed.getvalue(), f"{name}.gz")) == COLUMNS
    zst = pa.compress(text.encode(), codec="zstd", asbytes=True)
    assert columns(read(zst, f"{name}.zst")) == COLUMNS


@pytest.mark.parametrize("kind", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_encodings_are_recognised(read: Read, kind: str) -> None:
    text = "straße,preis\n" + "Köln,1\n" * 200_000  # longer than the part in which the format is looked for
    file = read(text.encode(kind))
    assert columns(file)["straße"][-1] == "Köln"
    assert file.format == TableFormat(",", ".", kind, True)


def test_what_was_taken_is_said(read: Read) -> None:
    file = read("größe;preis\n1,5;a\n2;b\n".encode("cp1252"))
    assert file.format
    assert describe_format(file.format) == 'separator ";", decimal ",", cp1252, header in line 1'
    file = read("5.1,setosa\n4.9,setosa\n")
    assert file.format
    assert (
        describe_format(file.format) == 'separator ",", decimal ".", utf-8, no header: columns are c1, c2, …'
    )


@pytest.mark.parametrize("first", ["0,1", "1,2", "2020,2021"])
def test_a_first_line_of_numbers_that_count_up_is_not_guessed(read: Read, first: str) -> None:
    """pandas numbers columns without a name, and years are common names."""
    text = f"{first}\n1.5,2.5\n"
    with pytest.raises(
        DataError, match=f"its first line, {first.replace(',', ', ')}, may be names or a row; set"
    ):
        read(text)
    assert read(text, has_header=True).table.column_names == first.split(",")
    assert read(text, has_header=False).table.num_rows == 2


@pytest.mark.parametrize(
    ("text", "has_header"),
    [
        ("a,b\n1,2\n", True),
        ("a,b\nx,y\n", True),
        ("x,y\nx,z\n", False),
        ("1,3\n3,4\n", False),
        ("1,2\n", False),
        ("5.1,setosa\n4.9,setosa\n", False),
        ("id,2019,2020\n7,1,2\n", True),
        (",2\n1,\n", False),
        (",a\n0,x\n", True),
    ],
)
def test_a_header_is_recognised(read: Read, text: str, has_header: bool) -> None:
    file = read(text)
    assert file.format and file.format.has_header is has_header
    assert file.table.num_rows == text.count("\n") - has_header
    if not has_header:
        assert file.table.column_names == ["c1", "c2"]
        assert read(text + text, has_header=True).table.num_rows == 2 * text.count("\n") - 1


def test_what_the_user_says_is_taken(read: Read) -> None:
    file = read("a;b,1\n1;5,2\n", separator=",", decimal=".", has_header=False, encoding="cp1252")
    assert file.format == TableFormat(",", ".", "cp1252", False)
    for said in ({"separator": ""}, {"separator": "::"}, {"decimal": "'"}, {"encoding": "klingon"}):
        with pytest.raises(ConfigError, match=rf"^dataset\.{next(iter(said))}="):
            read(CSV, **said)


def test_types_are_those_of_the_values(read: Read) -> None:
    file = read("day,time,ok,big,name,none\n2024-01-31,2024-01-31 10:00,true,1e400,007x,\n")
    kinds = ["date32[day]", "timestamp[s]", "bool", "double", "string", "null"]
    assert [str(kind) for kind in file.table.schema.types] == kinds
    late = "a,b,c\n" + "1,2,x\n" * 300_000 + "1.5,word,3\n"  # other types than in the part that is looked at
    file = read(late)
    assert [str(kind) for kind in file.table.schema.types] == ["double", "string", "string"]


def test_a_quoted_line_break_is_part_of_a_value_and_lines_are_counted(read: Read) -> None:
    file = read('a,b\n1,"x\ny"\n2,"z ""q"""\n\n3,w\n')
    assert columns(file) == {"a": [1, 2, 3], "b": ["x\ny", 'z "q"', "w"]}
    assert [file.locate(row) for row in range(3)] == ["t.csv:2", "t.csv:4", "t.csv:6"]


def test_a_column_without_name_and_values_is_left_out(read: Read) -> None:
    assert read(",a,\n0,1,\n1,2,\n").table.column_names == ["c1", "a"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "t.csv: empty"),
        ("\n\n", "t.csv: empty; it must hold a line of column names and a line for each row"),
        ("a,b\n", "t.csv: no rows below the column names; add a line for each"),
        ("a,b\n1,2\n3,4,5\n", "t.csv:3: 3 values for 2 columns; correct or remove the row"),
        ("a,b\n1,2\n3\n", "t.csv:3: 1 value for 2 columns; correct or remove the row"),
        ('a,b\n1,"x\ny"\n3\n', "t.csv:4: 1 value for 2 columns; correct or remove the row"),
        (MANY + "3\n", "t.csv:300002: 1 value for 2 columns; correct or remove the row"),
        ('a,b\n1,2\n3,"x\n4,5\n', "t.csv:3: a quote is not closed; correct the row"),
        ("a,b,a\n1,2,3\n", "t.csv:1: the column a appears twice; rename or remove one of them"),
        ("a,b\n1,2\n3,\0\n", "t.csv:3: a NUL byte, which is not text; remove it or set dataset.encoding"),
        (b"a,b\n\xc3\xa9,2\n3,\xff\n", "t.csv:3: not utf-8; save it as UTF-8 or set dataset.encoding"),
        (b"a,b\n1,2\n3,\x81\n", "t.csv:3: not cp1252; save it as UTF-8 or set dataset.encoding"),
        (b"\x1f\x8b\x08\0", "t.csv: compressed with gzip; name it .csv.gz"),
        (b"PK\x03\x04", "t.csv: a zip archive or an Excel book; unpack it, or name it .xlsx"),
        ("<!DOCTYPE html>\n", "t.csv: a web page; download the table itself"),
    ],
)  # fmt: skip
def test_no_table(read: Read, text: str | bytes, line: str) -> None:
    assert refusal(read, text) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"a": 1}\n{"a": }\n', "t.jsonl:2: not valid JSON (Expecting value: column 7); correct the line"),
        ('{"a": 1}\n{"a": "x"}\n', f"t.jsonl:2: {MIXED}"),
        ('{"a": 1}\n[1]\n', f"t.jsonl:2: [1] {LIKE}"),
        ('{"a": 1, "a": 2}\n', "t.jsonl:1: not valid JSON (a key appears twice); correct the line"),
        ('{"a": [1]}\n', "t.jsonl:1: column a: a list; write a column for each value in it"),
        ('{"a": ' + "[" * 200_000 + "]" * 200_000 + "}", f"t.jsonl:1: {NESTED}"),
        ('{"a": ' * 200_000 + "1" + "}" * 200_000, f"t.jsonl:1: {NESTED}"),
        ('{"a": 1e400}\n', "t.jsonl:1: column a: not a finite number; correct it"),
        ("\n \n", "t.jsonl: no rows; a table has a line for each"),
    ],
)  # fmt: skip
def test_no_lines_of_json(read: Read, text: str, line: str) -> None:
    assert refusal(read, text, "t.jsonl") == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[", "t.json:1: not valid JSON (Expecting value: column 2); correct it"),
        ("[" * 200_000, f"t.json: {NESTED}"),
        ("[]", "t.json: no rows; a table has a line for each"),
        ("7", f"t.json: row 1: 7 {LIKE}"),
        ("[[1, 2], [3]]", "t.json: row 2: 1 value, the first row has 2; correct it"),
        ('{"a": [1], "b": []}', "t.json: its columns have different lengths; give each as many values"),
        ('[{"a": 1}, {"a": "x"}]', f"t.json: row 2: {MIXED}"),
    ],
)  # fmt: skip
def test_no_document_of_json(read: Read, text: str, line: str) -> None:
    assert refusal(read, text, "t.json") == line


def test_typed_files(read: Read) -> None:
    table = pa.table(
        {
            **{name: pa.array(values).dictionary_encode() for name, values in COLUMNS.items()},
            "day": pa.array([date(2024, 1, 1)] * 3, pa.date64()),
            "nan": [1.0, float("nan"), 2.0],
            "__index_level_0__": [0, 1, 2],
        }
    )
    wanted = {**COLUMNS, "day": [date(2024, 1, 1)] * 3, "nan": [1.0, None, 2.0]}
    pyarrow.parquet.write_table(table, "t.parquet")
    pyarrow.feather.write_feather(table, "t.feather")
    with pa.OSFile("t.arrow", "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    for name in ("t.parquet", "t.feather", "t.arrow"):
        file = read_table([name])
        assert columns(file) == wanted
        assert file.format is None and file.locate(1) == f"{name}: row 2"
        whole = Path(name).read_bytes()
        assert refusal(read, whole[: len(whole) // 2], name).startswith(f"{name}: ")
    no_arrow = "t.arrow: not an Arrow file; a text is named .csv or .jsonl"
    assert refusal(read, b"a,b\n1,2\n", "t.arrow") == no_arrow
    parquet, arrow = Path("t.parquet").read_bytes(), Path("t.feather").read_bytes()
    assert refusal(read, parquet, "t.arrow") == "t.arrow: a parquet file; name it .parquet"
    assert refusal(read, arrow, "t.parquet") == "t.parquet: an arrow file; name it .arrow"
    no_parquet = "t.parquet: not a parquet file; a text is named .csv or .jsonl"
    assert refusal(read, b"a,b\n1,2\n", "t.parquet") == no_parquet
    pyarrow.parquet.write_table(pa.table({"a": [[1]]}), "t.parquet")
    assert "column a: has type list" in refusal(read, Path("t.parquet").read_bytes(), "t.parquet")


@pytest.mark.parametrize(("odd", "kind"), [("0.5", "double"), ("x", "string")])
def test_columns_that_change_far_down_are_read_twice_more_at_most(
    odd: str, kind: str, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many they are: each reading of a large file takes seconds."""
    rows = [["1"] * 12 for _ in range(60_000)]
    for place in range(12):
        rows[-1 - 100 * place][place] = odd
    text = "\n".join(",".join(row) for row in ([f"a{place}" for place in range(12)], *rows))
    calls, read_csv = list[int](), pyarrow.csv.read_csv
    monkeypatch.setattr(pyarrow.csv, "read_csv", lambda *given: calls.append(1) or read_csv(*given))
    file = read(text)
    assert {str(field.type) for field in file.table.schema} == {kind}
    assert file.table["a3"][59_999 - 300].as_py() == (odd if kind == "string" else 0.5)
    assert len(calls) <= 1 + 3  # of the sample, and of all


def test_an_excel_book(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    book = (Path(__file__).parent / "table.xlsx").read_bytes()
    file = read(book, "t.xlsx")
    assert columns(file) == {**COLUMNS, "day": [date(2024, 1, 31), None, date(2024, 2, 1)]}
    assert file.locate(1) == "t.xlsx: row 2"
    assert read(book, "t.xlsx", separator=";", decimal=",", encoding="cp1252").table == file.table  # of texts
    assert "damaged" in refusal(read, book[:1000], "t.xlsx")
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(ConfigError, match=r"^t.xlsx: .*; pip install 'mlpkit\[excel\]'$"):
        read(book, "t.xlsx")


def test_several_files(read: Read) -> None:
    read(CSV, "a1.csv")
    read("score,city,age\n7,Bonn,x\n", "a2.csv")
    file = read_table(["a*.csv"])
    assert columns(file)["age"] == ["41", None, "30", "x"]
    assert columns(file)["score"] == [0.5, -2.0, 1e3, 7.0]
    assert [file.locate(row) for row in (0, 3)] == ["a1.csv:2", "a2.csv:2"]
    assert columns(file) == columns(read_table(["a1.csv", "a2.csv"]))
    read("score,town,age\n7,Bonn,5\n", "a3.csv")
    with pytest.raises(DataError) as caught:
        read_table(["a*.csv"])
    assert str(caught.value) == "a3.csv: lacks city and also has town; all files need the columns of a1.csv"
    with pytest.raises(DataError, match=r"^b\*.csv: no file matches"):
        read_table(["b*.csv"])


@pytest.mark.parametrize("text", [CSV, json.dumps([{"age": 41}]), '{"age": 41}\n{"age": 3}\n'])
def test_stdin(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    file = read_table(["-"])
    assert file.table["age"][0].as_py() == 41
    assert file.locate(0) in ("stdin:2", "stdin: row 1")


def test_no_regular_file(read: Read) -> None:
    Path("folder").mkdir()
    for name, line in {
        "none.csv": "none.csv: no such file; check the path",
        "folder": "folder: a folder; name a file in it, or several by folder/*.csv",
        "/dev/null": "/dev/null: not a regular file; - reads stdin",
        "https://x.org/t.csv": "https://x.org/t.csv: tables are read from files; download it first",
    }.items():
        with pytest.raises(DataError) as caught:
            read_table([name])
        assert str(caught.value) == line
    os.mkfifo("t.csv")
    with pytest.raises(DataError, match=r"^t.csv: not a regular file"):
        read_table(["t.csv"])


@pytest.mark.parametrize("kind", ["pkl", "pickle", "pt", "npy", "npz", "xls", "zip", "exe", "parquet.gz"])
def test_kinds_that_are_refused(read: Read, kind: str) -> None:
    assert refusal(read, b"x", f"t.{kind}").startswith(f"t.{kind}: ")


@pytest.mark.long
def test_packed_files(read: Read) -> None:
    packed = gzip.compress(CSV.encode())
    assert (
        refusal(read, packed[:-20], "t.csv.gz")
        == "t.csv.gz: damaged, cut off or not compressed; download or compress it again"
    )
    broken = packed[:-6] + bytes([packed[-6] ^ 1]) + packed[-5:]
    assert refusal(read, broken, "t.csv.gz").startswith("t.csv.gz: ")
    bomb = gzip.compress(b"a,b\n" + b"1,2\n" * (18 << 20), 6)
    assert "unpacks to more than 100 times its size" in refusal(read, bomb, "t.csv.gz")
