"""`mlpkit export --format python` and `state_dict`: files that predict as mlpkit does, without mlpkit."""

import calendar
import contextlib
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tables
from cases import rest_long
from exporting import (
    KINDS,
    MLP,
    QUICK,
    Models,
    assert_same,
    export,
    is_quick,
    odd_rows,
    predicted,
    read_columns,
)
from running import train

from mlpkit.cli.main import run as command
from mlpkit.deploy import fresh_python, numpy_encoder


def script(folder: Path, source: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the exported file as a script in a folder without mlpkit."""
    command = [sys.executable, "-I", str(folder / "model.py"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.sampled(12)
@pytest.mark.parametrize("kind", rest_long(KINDS, is_quick))
def test_python_predicts_the_same(kind: str, models: Models, tmp_path: Path) -> None:
    manifest = export("python", tmp_path / "out", models.run(kind))
    assert list(manifest["files"]) == ["model.py"]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["binary", "scales", "multiclass", "multilabel", "yeo_johnson"])
def test_a_script_reads_csv_as_predict_does(kind: str, models: Models, tmp_path: Path) -> None:
    run = models.run(kind)
    rows = odd_rows(tables.customers(30, seed=1))
    expected = predicted(run, rows, tmp_path)
    export("python", tmp_path / "out", run)
    found = script(tmp_path / "out", tmp_path / "rows.csv").stdout
    assert_same(read_columns(found), expected)


def test_a_script_reads_the_file_that_the_model_was_trained_on(tmp_path: Path) -> None:
    """Semicolons and decimal commas, spaces around names, a value with a line separator of Unicode."""
    towns = ("Bad\u2028Ems", "Ulm")
    lines = [f"{i % 7 / 10:.1f}; {towns[i % 2]} ;{i % 2}" for i in range(60)]
    source = tmp_path / "rows.csv"
    source.write_text("\n".join([" größe ; ort ;y", *lines]).replace(".", ","), encoding="utf-8")
    run = train(tmp_path, *tables.of(source, target="y"), *MLP, *QUICK).path
    export("python", tmp_path / "out", run)
    target = tmp_path / "predicted.csv"
    assert command(["predict", str(run), "--input", str(source), "--output", str(target)]) == 0
    found = script(tmp_path / "out", source).stdout
    assert_same(read_columns(found), read_columns(target.read_text(encoding="utf-8")))


@pytest.mark.parametrize("value", [10**400, [1], {"a": 1}])
def test_a_value_of_no_use_is_one_line(value: Any) -> None:
    encoder = numpy_encoder.Encoder(
        {"columns": [{"kind": "number", "column": "age", "fill": None}], "missing": []}
    )
    with pytest.raises(ValueError, match="row 1: column age: "):
        encoder.encode([{"age": value}])


@pytest.mark.long
def test_a_script_refuses_what_predict_refuses(models: Models, tmp_path: Path) -> None:
    export("python", tmp_path / "out", models.run("refusing"))
    (row,) = tables.customers(1)
    for change, problem in (
        ({"city": "Berlin"}, "row 1: column city: 'Berlin' is none of Oslo, Paris, Rome"),
        ({"calls": "many"}, "row 1: column calls: 'many' is not a number"),
        ({"calls": "1e39"}, "row 1: column calls: '1e39' is not a finite float32"),
        ({"signup": "yesterday"}, "row 1: column signup: 'yesterday' is not a date such as 2024-01-31"),
    ):
        source = tables.write_csv(tmp_path / "rows.csv", [{**row, **change}])
        assert script(tmp_path / "out", source, code=65).stderr == f"{source}: {problem}\n"
    without = {name: value for name, value in row.items() if name != "calls"}
    source = tables.write_csv(tmp_path / "rows.csv", [without])
    said = script(tmp_path / "out", source, code=65).stderr
    assert said == f"{source}: column calls is missing (a value may be left empty)\n"
    source.unlink()
    assert script(tmp_path / "out", source, code=65).stderr == f"{source}: No such file or directory\n"


def test_rows_columns_and_arrays_are_the_same(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path / "out")
    export("python", tmp_path / "out", models.run("relu activation"), "--name", "moons_model")
    import moons_model  # type: ignore[import-not-found]

    numbers = np.array([[0.1, 0.2], [1.5, -0.3]])
    by_array = moons_model.predict(numbers)
    names = moons_model.MODEL.content["names"]
    by_columns = moons_model.predict({name: numbers[:, place] for place, name in enumerate(names)})
    by_rows = moons_model.predict([dict(zip(names, row, strict=True)) for row in numbers.tolist()])
    assert set(by_array) == {"label", "class", "probabilities"}
    for name, values in by_array.items():
        assert (values == by_columns[name]).all() and (values == by_rows[name]).all()
    assert (moons_model.predict(numbers.tolist())["label"] == by_array["label"]).all()
    for rows in (np.zeros((2, 3)), [[0, 0, 0]] * 2):
        with pytest.raises(ValueError, match=r"reads 2 features, not an array of shape \(2, 3\)"):
            moons_model.predict(rows)
    with pytest.raises(ValueError, match="row 1: column"):
        moons_model.predict(np.full((1, 2), np.nan))


@pytest.mark.long
@pytest.mark.parametrize("kind", ["binary"])
def test_a_state_dict_predicts_the_same(kind: str, models: Models, tmp_path: Path) -> None:
    manifest = export("state_dict", tmp_path / "out", models.run(kind))
    assert list(manifest["files"]) == ["model.py", "model_rows.py", "weights.safetensors"]


@pytest.mark.long
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "binary"])
def test_every_state_dict_predicts_the_same(kind: str, models: Models, tmp_path: Path) -> None:
    export("state_dict", tmp_path / "out", models.run(kind))


@pytest.mark.parametrize("format_", ["python", pytest.param("state_dict", marks=pytest.mark.long)])
def test_an_ensemble_and_a_threshold(format_: str, models: Models, tmp_path: Path) -> None:
    options = ("--ensemble", "--threshold", "0.3")
    manifest = export(format_, tmp_path / "out", models.sweep(), *options)
    assert len(manifest["checkpoints"]) == 3 and manifest["threshold"] == 0.3
    if format_ == "python":
        rows = tables.customers(30, seed=1)
        expected = predicted(models.sweep(), rows, tmp_path, *options)
        assert_same(read_columns(script(tmp_path / "out", tmp_path / "rows.csv").stdout), expected)


def test_it_reads_texts_as_training_does() -> None:
    """The exported file has copies of these, since it cannot import them."""
    from mlpkit.data import column_values, encode, tables

    assert numpy_encoder.NUMBER.pattern == tables.NUMBER
    assert numpy_encoder.ISO_DAY == column_values.ISO_DAY
    assert numpy_encoder.WHOLE.pattern == column_values.WHOLE.strip("^$")
    assert frozenset(numpy_encoder.YES) == column_values.YES
    assert frozenset(numpy_encoder.NO) == column_values.NO
    assert numpy_encoder.FARTHEST == encode.FARTHEST


@pytest.mark.parametrize("text", ["2024-02-29", "1900-02-28T23:59", "2023-12-31 23:59:60.5Z", "0001-01-01"])
def test_dates_are_those_of_training(text: str) -> None:
    import pyarrow as pa

    from mlpkit.data.column_values import _read_dates

    read = numpy_encoder._date({})
    assert read(text) == _read_dates(pa.array([text]), None).cast(pa.int64())[0].as_py()
    with pytest.raises(ValueError, match="is not a date such as"):
        read(text.replace("-", "/"))


def test_a_day_that_there_is_not_is_no_date() -> None:
    """Arrow's own reader takes February 30 for March 2."""
    import pyarrow as pa

    from mlpkit.data.column_values import _read_dates

    read = numpy_encoder._date({})
    for year, month, day in itertools.product((1900, 2000, 2023, 2024), range(1, 13), range(28, 32)):
        text = f"{year}-{month:02}-{day:02}"
        exists = day <= calendar.monthrange(year, month)[1]
        for form in (None, "%Y-%m-%d"):
            assert _read_dates(pa.array([text]), form).null_count == (not exists), (text, form)
        with contextlib.nullcontext() if exists else pytest.raises(ValueError, match="is not a date such as"):
            read(text)


def test_a_fresh_python_has_no_mlpkit(tmp_path: Path) -> None:
    """So that a file which imports it is found out."""
    (tmp_path / "bad.py").write_text("import mlpkit\n")
    from mlpkit.deploy.check_rows import CheckRows
    from mlpkit.errors import DataError

    with pytest.raises(DataError, match=r"bad: the exported model does not run in a fresh Python: .*mlpkit"):
        fresh_python.predict(tmp_path, "bad", CheckRows({}, np.zeros((1, 1), np.float32)))
