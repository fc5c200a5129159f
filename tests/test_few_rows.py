"""Few rows of JSON: encoded to the bit as the full reader encodes them, or left to it."""

import json
import random
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from running import config

from mlpkit.config.dataset import DatasetConfig
from mlpkit.data.arrow_table import normalize
from mlpkit.data.encode import encode
from mlpkit.data.encoder import (
    BooleanColumn,
    CategoryColumn,
    DateColumn,
    DateFeature,
    Linear,
    Log,
    NumberColumn,
    Quantile,
    TableEncoder,
)
from mlpkit.data.few_rows import FewRows, read_few
from mlpkit.data.raw_inputs import missing_texts, read_as_in_training
from mlpkit.data.table_text import TableText
from mlpkit.errors import DataError

PARTS = tuple(DateFeature(name, Linear()) for name in ("days", "year", "month", "day", "weekday", "hour"))
ENCODER = TableEncoder(
    (
        NumberColumn("plain", 0.5, Linear(shift=3.1, divide_by=0.7), flags_missing=True),
        NumberColumn("needed", None, Log(shift=0.1, divide_by=1.3)),
        NumberColumn("ranked", 1.0, Quantile((0.0, 1.5, 1.5, 9.0))),
        CategoryColumn("city", ("Oslo", "3", "true", "C++"), has_other=True, flags_missing=True),
        CategoryColumn("single", ("a", "b")),
        CategoryColumn("strict", ("x", "7"), refuses=("missing", "unknown")),
        BooleanColumn("member", flags_missing=True),
        DateColumn("since", PARTS, flags_missing=True),
        DateColumn("until", PARTS, format="%d.%m.%Y"),
    )
)
NAMES = [spec.column for spec in ENCODER.columns]
ROW = {
    "plain": 1.5, "needed": 2, "ranked": 2.5, "city": "Oslo", "single": "a", "strict": "x", "member": True,
    "since": "2020-02-29", "until": "2021-12-31",
}  # fmt: skip
ODD: tuple[Any, ...] = (
    None, 0, -0.0, 1, 7, 3, 3.0, 0.1, 1e300, -1e38, 3.5e38, 5e-324, 2**53 + 1, 2**63, -(2**70), True, False,
    "", " ", "NA", "?", "Oslo", " Oslo\t", "oslo", "3", "3.0", "+3.00", "03", "7.0", "yes", "No", "TRUE", "a",
    "x", "C++", "Zürich", "\ud800", "\0", "\u200b", "\u3000a\u2028", "\x1fb", "1.5", "1,5", "nan", "inf",
    "2020-02-29", "2021-02-29", "0020-01-01", "9999-12-31", "2020-01-01 10:00", "2020-01-01T10:00:00",
    "2020-1-1", "31.12.2021", "1234-x", [1], {"a": 1}, [],
)  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetConfig:
    path = tmp_path_factory.mktemp("table") / "table.csv"
    path.write_text("a,b\n1,2\n")
    return config("dataset=table", f"dataset.path={path}", "dataset.target=b").dataset


def by_full_reader(content: bytes, dataset: DatasetConfig) -> object:
    """Return the bits and the issues of rows, or what is wrong with them."""
    notes: list[str] = []
    try:
        file = read_as_in_training(TableText("rows", content=content), dataset, None, NAMES, notes.append)
        encoded = encode(ENCODER, file.table, "rows", file.locate)
    except DataError as error:
        return str(error)
    assert not notes and set(file.table.column_names) == set(NAMES)
    return encoded.values.tobytes(), encoded.issues


def encoded(rows: FewRows) -> object:
    try:
        found = rows.encode(ENCODER, "rows", lambda row: f"rows: row {row + 1}")
    except DataError as error:
        return str(error)
    return found.values.tobytes(), found.issues


def read(content: bytes, dataset: DatasetConfig) -> FewRows | None:
    return read_few(content, ENCODER, {"", *missing_texts(dataset)})


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_what_the_full_reader_makes_of_it(name: str, dataset: DatasetConfig) -> None:
    read_here = 0
    for odd in ODD:
        for rows in ({**ROW, name: odd}, [{**ROW, name: odd}, ROW], [ROW, {**ROW, name: odd}, ROW]):
            content = json.dumps(rows).encode()
            if (few := read(content, dataset)) is not None:
                read_here += 1
                assert encoded(few) == by_full_reader(content, dataset), odd
    assert read_here >= 9


def test_what_is_no_ordinary_row_is_left_to_the_full_reader(dataset: DatasetConfig) -> None:
    row = json.dumps(ROW)
    lacking = json.dumps({name: value for name, value in ROW.items() if name != "plain"})
    more = json.dumps({**ROW, "more": 1})
    assert read(row.encode(), dataset) is not None
    for content in (
        "", "[]", "[", "1", "null", "plain,city\n1,Oslo\n", f"{row}\n{row}", f"\ufeff{row}", f"[{row}, 1]",
        lacking, f"[{row}, {lacking}]", more, "[" * 10**5, row.replace("1.5", "NaN"),
        row.replace("1.5", "1e400"), row.replace("1.5", '1.5, "plain": 1'), json.dumps([ROW] * 101),
        json.dumps({name: [ROW[name]] for name in ROW}),
    ):  # fmt: skip
        assert read(content.encode(), dataset) is None, content
    for encoding in ("utf-16", "utf-16-le", "latin-1"):
        assert read(row.replace("Oslo", "Å").encode(encoding), dataset) is None


def test_rows_that_are_joined_do_not_change_each_other(dataset: DatasetConfig) -> None:
    draw = random.Random(0)
    choices = {
        name: [value for value in ODD if (few := read(json.dumps({**ROW, name: value}).encode(), dataset))
               and isinstance(encoded(few), tuple)]
        for name in NAMES
    }  # fmt: skip
    rows = [{name: draw.choice(choices[name]) for name in NAMES} for _ in range(200)]
    parts = [read(json.dumps(row).encode(), dataset) for row in rows]
    known = [part for part in parts if part is not None]
    assert len(known) == 200
    joined = FewRows.joined(known).encode(ENCODER, "rows", str)
    for part, values in zip(known, joined.values, strict=True):
        assert np.array_equal(part.encode(ENCODER, "rows", str).values[0], values)
    assert {issue.column: issue.missing for issue in joined.issues if issue.missing} == {
        name: count for name in NAMES if (count := sum(part.columns[name] == [None] for part in known))
    }


def test_texts_are_stripped_as_arrow_does() -> None:
    """Of every character that one of them may take for white space."""
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    stripped = normalize(pa.table({"text": characters}), (), "rows")["text"].to_pylist()
    assert stripped == [character.strip() for character in characters]
