"""What the columns of a table hold is found out from their values."""

import datetime

import numpy as np
import pyarrow as pa

from mlpkit.data.arrow_table import normalize
from mlpkit.data.column_settings import ColumnSettings
from mlpkit.data.column_values import RawColumn
from mlpkit.data.columns import ColumnKind, infer_columns

NOTHING: dict[str, ColumnSettings] = {}


def kinds_of(table: pa.Table, settings: dict[str, ColumnSettings] = NOTHING) -> list[ColumnKind]:
    table = normalize(table, ("?",), "t.csv")
    columns = [RawColumn(name, table[name], "t.csv", str) for name in table.column_names]
    return infer_columns(columns, settings, np.arange(table.num_rows))


def test_what_columns_hold_is_found_out() -> None:
    rows = 100
    columns: dict[str, list[object]] = {
        "amount": [i * 0.7 for i in range(rows)],
        "count": [(i * 7) % 31 for i in range(rows)],
        "code": [i % 3 + 1 for i in range(rows)],
        "flag": [i % 2 for i in range(rows)],
        "answer": ["Yes" if i % 3 else "no" for i in range(rows)],
        "city": [("Oslo", "Rome", "Paris")[i % 3] for i in range(rows)],
        "when": [datetime.date(2020, 1, 1 + i % 28) for i in range(rows)],
        "iso": [f"2020-01-{1 + i % 28:02d}" for i in range(rows)],
        "user_id": [(i * 37) % 1009 for i in range(rows)],
        "nr": list(range(1, rows + 1)),
        "email": [f"a{i}@b.c" for i in range(rows)],
        "comment": [f"words {i - (i % 3 == 0)}" for i in range(rows)],
        "always": ["x"] * rows,
        "never": [None] * rows,
        "typed": ["1.5", "+2"] * (rows // 2),
        "nearly": ["n.k.", *map(str, range(rows - 2)), "n.k."],
        "mostly": ["2020-01-01", "later", *(f"2020-02-{1 + i % 28:02d}" for i in range(rows - 2))],
        "coded": [*map(str, [1, 2, 3] * (rows // 3)), "?"],
    }
    found = {kind.name: kind for kind in kinds_of(pa.table(columns))}
    assert {name: kind.kind for name, kind in found.items()} == {
        "amount": "number", "count": "number", "code": "category", "flag": "boolean", "answer": "boolean",
        "city": "category", "when": "date", "iso": "date", "user_id": "identifier", "nr": "identifier",
        "email": "identifier", "comment": "text", "always": "constant", "never": "constant",
        "typed": "number",
        "nearly": "text", "coded": "category", "mostly": "category",
    }  # fmt: skip
    assert (
        "; 98% are numbers, the first other value is 'n.k.' at 0: name such texts" in found["nearly"].reason
    )
    assert "; 99% are dates, the first other value is 'later' at 1: name such" in found["mostly"].reason
    chosen = kinds_of(pa.table(columns), {"user_id": ColumnSettings(type="category")})
    assert next(kind for kind in chosen if kind.name == "user_id").kind == "category"
