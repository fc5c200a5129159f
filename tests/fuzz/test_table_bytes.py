"""Any damaged table is read, or refused in a line; nothing else is raised, and no process ends."""

import gzip
import io
import json
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.damage import damaged
from fuzz.refusal import taken
from mlpkit.data.table_file import TableFile, read_table
from mlpkit.errors import DataError

TABLE = pa.table(
    {
        "id": list(range(40)),
        "price": [None if row % 7 == 0 else row / 8 for row in range(40)],
        "city": [("Oslo", "São Paulo", 'the "Hague"', "a, b; c\nd", None)[row % 5] for row in range(40)],
        "day": pa.array([20_000 + row for row in range(40)], pa.int32()).cast(pa.date32()),
        "sold": [row % 3 == 0 for row in range(40)],
    }
)
BOOK = Path(__file__).parent.parent / "table.xlsx"
PARTS = (
    b'"',
    b";",
    b",",
    b"\t",
    b"\r",
    b"\n",
    b"\0",
    b"\xff",
    b"\xe9",
    b"{",
    b"[",
    b"1e999",
    b"\xef\xbb\xbf",
)
ENCODINGS = ("utf-8", "utf-16", "cp1252", "utf-8-sig")


@cache
def contents() -> dict[str, bytes]:
    """Return a good table as each kind of file."""
    written: dict[str, io.BytesIO] = {kind: io.BytesIO() for kind in ("csv", "parquet", "feather", "arrow")}
    pyarrow.csv.write_csv(TABLE, written["csv"])
    pyarrow.parquet.write_table(TABLE, written["parquet"], row_group_size=20)
    pyarrow.feather.write_feather(TABLE, written["feather"])
    with pa.ipc.new_stream(written["arrow"], TABLE.schema) as writer:
        writer.write_table(TABLE)
    found = {kind: file.getvalue() for kind, file in written.items()}
    records = [{**row, "day": str(row["day"])} for row in TABLE.to_pylist()]
    found["json"] = json.dumps(records).encode()
    found["jsonl"] = "\n".join(map(json.dumps, records)).encode()
    semicolons = io.BytesIO()
    pyarrow.csv.write_csv(TABLE, semicolons, pyarrow.csv.WriteOptions(delimiter=";"))
    found["txt"] = semicolons.getvalue().replace(b".", b",")
    found["csv.gz"] = gzip.compress(found["csv"], mtime=0)
    found["jsonl.zst"] = pa.compress(found["jsonl"], codec="zstd", asbytes=True)
    found["xlsx"] = BOOK.read_bytes()
    return found


@st.composite
def mangled(draw: st.DrawFn, content: bytes) -> bytes:
    """Draw a text whose separators, quotes or encodings are mixed in places."""
    pieces = content.splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(pieces) - 1))
        old, new = draw(st.sampled_from(PARTS)), draw(st.sampled_from(PARTS))
        way = draw(st.sampled_from(("replace", "insert", "shuffle", "encode")))
        if way == "replace":
            pieces[place] = pieces[place].replace(old, new, draw(st.integers(1, 3)))
        elif way == "insert":
            cut = draw(st.integers(0, len(pieces[place])))
            pieces[place] = pieces[place][:cut] + new * draw(st.integers(1, 3)) + pieces[place][cut:]
        elif way == "shuffle":
            pieces[place : place + 3] = draw(st.permutations(pieces[place : place + 3]))
        else:
            text = pieces[place].decode("utf-8", "replace")
            pieces[place] = text.encode(draw(st.sampled_from(ENCODINGS)), "replace")
    return b"".join(pieces)


def check(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    file: TableFile | None = taken(DataError, lambda: read_table([str(path)]))
    if file is not None:
        file.table.validate(full=True)
        assert file.table.num_rows > 0
        assert str(path) in file.locate(file.table.num_rows - 1)


@pytest.mark.parametrize("kind", sorted(contents()))
def test_a_good_table(kind: str, tmp_path: Path) -> None:
    (tmp_path / f"in.{kind}").write_bytes(contents()[kind])
    table = read_table([str(tmp_path / f"in.{kind}")]).table
    if kind != "xlsx":
        assert table.drop_columns("day").to_pydict() == TABLE.drop_columns("day").to_pydict()
        assert table["day"].cast(pa.date32()).to_pylist() == TABLE["day"].to_pylist()


@pytest.mark.sampled(9)
@pytest.mark.parametrize("kind", sorted(contents()))
@given(data=st.data())
def test_a_damaged_table(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    check(tmp_path / f"in.{kind}", data.draw(damaged(contents()[kind], 1)))


@pytest.mark.long
@pytest.mark.parametrize("kind", ["csv", "txt", "json", "jsonl"])
@given(data=st.data())
def test_a_mangled_table(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    check(tmp_path / f"in.{kind}", data.draw(mangled(contents()[kind])))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet", "arrow", "xlsx", "csv.gz"])
@given(content=st.binary(min_size=1) | st.text(min_size=1).map(str.encode))
def test_any_bytes(kind: str, content: bytes, tmp_path: Path) -> None:
    check(tmp_path / f"in.{kind}", content)
