"""A table is predicted in portions: the same answers as at once, whole files, and little memory."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import Refused
from pyarrow import csv, parquet
from running import train

import mlpkit
from mlpkit.cli.main import run as command
from mlpkit.data import table_portions
from mlpkit.data.arrow_table import read_parquet_portions
from mlpkit.data.table_portions import ROWS as PORTION
from mlpkit.system.ahead import one_ahead
from mlpkit.system.plain_json import to_json

ROWS = PORTION + 1000
CITIES = np.array(["Oslo", "Rome", "Paris"])


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    """More rows than one portion has; a city that is new and a number that is missing in both portions."""
    random = np.random.default_rng(0)
    x, city = random.normal(size=ROWS), random.integers(3, size=ROWS)
    words, y = CITIES[city].astype(object), x + city
    words[[3, ROWS - 3]] = "Bern"
    x[[5, ROWS - 5]] = np.nan
    return pa.table({"id": np.arange(ROWS), "x": x, "city": pa.array(words), "y": y})


@pytest.fixture(scope="module")
def run(rows: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on some of them."""
    folder = tmp_path_factory.mktemp("large")
    parquet.write_table(rows.slice(100, 300), folder / "train.parquet")
    path = f"dataset.path={folder / 'train.parquet'}"
    options = ("dataset=table", path, "dataset.target=y", "dataset.ignore=[id]", "model=linear")
    return train(folder, *options, "trainer.epochs=2", "run.plots=false", "run.tensorboard=false").path


def test_portions_are_predicted_as_the_whole_table(
    rows: pa.Table, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tmp_path / "in.parquet", tmp_path / "out.parquet"
    parquet.write_table(rows, source, row_group_size=30_000)
    assert (
        command(["predict", str(run), "--input", str(source), "--keep", "id", "--output", str(output)]) == 0
    )
    printed, said = capsys.readouterr()
    assert printed == f"{ROWS:,} predictions: {output}\n"
    assert said.splitlines() == [
        f"{source}: column x: 2 missing",
        f"{source}: column city: 2 not seen in training, such as 'Bern'",
    ]
    found = parquet.read_table(output)
    assert found.schema.field("y").type == pa.float32()
    assert found["id"].to_pylist() == list(range(ROWS))
    # The last rows alone, in a file whose first row is another one.
    parquet.write_table(rows.slice(PORTION - 7), source)
    again = tmp_path / "again.parquet"
    assert command(["predict", str(run), "--input", str(source), "--output", str(again)]) == 0
    assert parquet.read_table(again)["y"].to_pylist() == found["y"].to_pylist()[PORTION - 7 :]


def test_a_table_in_memory_is_written_in_portions_too(rows: pa.Table, run: Path, tmp_path: Path) -> None:
    csv.write_csv(rows, tmp_path / "in.csv")
    output = tmp_path / "out.csv"
    given = [
        "predict",
        str(run),
        "--input",
        str(tmp_path / "in.csv"),
        "--keep",
        "id",
        "--output",
        str(output),
    ]
    assert command(given) == 0
    lines = output.read_text().splitlines()
    assert lines[0] == "id,y" and [line.split(",")[0] for line in lines[1:]] == [
        str(row) for row in range(ROWS)
    ]


def test_an_error_in_a_later_portion_names_the_row_and_leaves_the_older_output(
    rows: pa.Table, run: Path, tmp_path: Path, refused: Refused
) -> None:
    bad = rows["x"].to_numpy().copy()
    bad[PORTION + 10] = 1e39
    parquet.write_table(rows.set_column(1, "x", pa.array(bad)), "in.parquet")
    Path("out.csv").write_text("older")
    said = refused(
        "predict", str(run), "--input", "in.parquet", "--keep", "id", "--output", "out.csv", code=65
    )
    assert said.startswith(f"in.parquet: row {PORTION + 11}: column x: ")
    assert Path("out.csv").read_text() == "older"


@pytest.mark.long
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_kinds_of_files_and_sizes_of_portions_change_nothing(
    ending: str,
    rows: pa.Table,
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The numbers are those of all rows at once; so are the scores, the warnings and the rate of new rows."""
    few = rows.slice(0, 3000)
    y = few["y"].to_numpy().copy()
    y[[7, 2900]] = np.nan
    save(few.set_column(3, "y", pa.array(y, from_pandas=True)), tmp_path / f"in.{ending}")
    found = []
    for size in (1 << 20, 700):
        monkeypatch.setattr(table_portions, "ROWS", size)
        source, output = str(tmp_path / f"in.{ending}"), tmp_path / f"{size}.csv"
        given = [str(run), "--input", source]
        assert command(["predict", *given, "--keep", "city", "--output", str(output)]) == 0
        assert command(["evaluate", *given, "--novelty", "--coverage", "0.9"]) == 0
        printed, said = capsys.readouterr()
        found.append((output.read_text(), printed.replace(output.name, ""), said))
    assert found[0] == found[1]
    assert f"{source}: left out 2 rows without a value of the target" in found[0][2]
    assert "2,998 rows" in found[0][1]
    model = mlpkit.load(run)
    expected = model.predict(few.select(["x", "city"]))
    values = np.loadtxt(found[0][0].splitlines(), delimiter=",", skiprows=1, usecols=1, dtype=np.float32)
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_bad_value_far_down_is_named_by_its_line(
    ending: str, rows: pa.Table, run: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_portions, "ROWS", 700)
    x = [str(value) for value in rows["x"].to_pylist()[:2000]]
    x[5], x[1500] = "", "oops"
    save(pa.table({"x": x, "city": ["Oslo"] * 2000}), Path(f"in.{ending}"))
    Path("out.parquet").write_text("older")
    said = refused("predict", str(run), "--input", f"in.{ending}", "--output", "out.parquet", code=65)
    place = "in.csv:1502" if ending == "csv" else "in.jsonl: row 1501"
    assert f"{place}: column x: 'oops' is not a plain number" in said
    assert Path("out.parquet").read_text() == "older"
    assert sorted(path.name for path in Path().iterdir()) == sorted([f"in.{ending}", "out.parquet"])


def save(table: pa.Table, path: Path) -> None:
    """Write a table; csv and JSON lines hold what it shows."""
    if path.suffix == ".parquet":
        parquet.write_table(table, path, row_group_size=1100)
    elif path.suffix == ".csv":
        csv.write_csv(table, path)
    else:
        path.write_text("".join(f"{to_json(row)}\n" for row in table.to_pylist()))


def test_a_parquet_file_is_not_kept_in_memory(tmp_path: Path) -> None:
    path, groups = tmp_path / "a.parquet", 16
    noise = np.random.default_rng(0).normal(size=(50_000, 10))
    table = pa.table({f"x{i}": noise[:, i] for i in range(10)})
    parquet.write_table(
        pa.concat_tables([table] * groups), path, row_group_size=len(noise), use_dictionary=False
    )
    before, most, rows = pa.total_allocated_bytes(), 0, 0
    for portion in read_parquet_portions(path, 10_000, table.column_names):
        rows += len(portion)
        most = max(most, pa.total_allocated_bytes() - before)
    assert rows == groups * len(noise)
    assert most < groups * noise.nbytes / 2


def test_the_next_item_is_made_by_another_thread_and_errors_come_in_their_turn() -> None:
    makers = []

    def items() -> Iterator[int]:
        for number in range(3):
            makers.append(threading.current_thread())
            yield number
        raise ValueError("after the third")

    found = []
    with pytest.raises(ValueError, match="after the third"):
        for item in one_ahead(items()):
            found.append(item)
    assert found == [0, 1, 2]
    assert threading.main_thread() not in makers
