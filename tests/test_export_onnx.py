"""`mlpkit export --format onnx`: a file that takes raw columns in onnxruntime and predicts as mlpkit does."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import running
import tables
from exporting import KINDS, QUICK, Models, export, predicted

RUN = """
import sys
sys.modules["mlpkit"] = sys.modules["torch"] = None
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
print(session.run(["label"], {"x": np.zeros((3, 2), np.float32)})[0].tolist())
"""


def run(folder: Path, inputs: dict[str, Any]) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def columns(
    rows: list[dict[str, object]], numbers: tuple[str, ...], texts: tuple[str, ...]
) -> dict[str, Any]:
    """Return the inputs of rows, a missing number as NaN and a missing text as ""."""
    found: dict[str, Any] = {
        name: np.array([[np.nan if row[name] == "" else row[name]] for row in rows], np.float32)
        for name in numbers
    }
    return found | {name: np.array([[str(row[name])] for row in rows], object) for name in texts}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", KINDS)
def test_it_predicts_the_same(kind: str, models: Models, tmp_path: Path) -> None:
    manifest = export("onnx", tmp_path / "out", models.run(kind))
    assert list(manifest["files"]) == ["model.onnx"]
    opsets = {opset.domain: opset.version for opset in onnx.load(tmp_path / "out/model.onnx").opset_import}
    assert opsets == {"": manifest["opset"]["ai.onnx"], "ai.onnx.ml": manifest["opset"]["ai.onnx.ml"]}


def test_an_ensemble_and_a_threshold(models: Models, tmp_path: Path) -> None:
    export("onnx", tmp_path / "out", models.sweep(), "--ensemble", "--threshold", "0.3")


def test_raw_columns_give_what_predict_gives(models: Models, tmp_path: Path) -> None:
    rows = tables.customers(40, seed=1)
    rows[0] |= {"city": "NA", "plan": "3.0", "smoker": "TRUE", "signup": "2023-02-03T04:05:06Z"}
    rows[1] |= {"city": "Berlin", "smoker": "maybe", "signup": "2023-02-03 23:59", "age": ""}
    rows[2] |= {"city": "", "plan": "", "smoker": "", "signup": ""}
    trained = models.run("binary")
    expected = predicted(trained, rows, tmp_path)
    export("onnx", tmp_path / "out", trained)
    inputs = columns(rows, ("age", "calls", "income", "household"), ("city", "plan", "smoker", "signup"))
    found = run(tmp_path / "out", inputs)
    assert found["label"].tolist() == expected["label"].tolist()
    assert found["class"].tolist() == expected["class"]
    np.testing.assert_allclose(found["probabilities"][:, 1], expected["p(yes)"], atol=2e-6)
    one = run(tmp_path / "out", {name: values[:1] for name, values in inputs.items()})
    np.testing.assert_allclose(one["probabilities"], found["probabilities"][:1], atol=1e-6)


def test_a_value_that_predict_refuses_gives_nan(models: Models, tmp_path: Path) -> None:
    export("onnx", tmp_path / "out", models.run("refusing"))
    rows = [tables.customers(1)[0] for _ in range(4)]
    rows[1] |= {"city": "Berlin"}
    rows[2] |= {"signup": "yesterday"}
    rows[3] |= {"calls": np.inf}
    inputs = columns(rows, ("calls", "income", "household"), ("city", "plan", "smoker", "signup"))
    found = run(tmp_path / "out", inputs)
    assert np.isfinite(found["probabilities"]).all(1).tolist() == [True, False, False, False]
    assert found["label"].tolist()[1:] == [-1, -1, -1]
    assert found["class"].tolist()[1:] == ["", "", ""]


def test_numbers_that_float32_cannot_hold_are_read_as_float64(tmp_path: Path) -> None:
    """And an output has another name than a column."""
    rows: list[dict[str, object]] = [
        {"time": 1_700_000_000 + (number * 37) % 101, "value": number % 13, "y": number % 37 / 7}
        for number in range(120)
    ]
    path = tables.write_csv(tmp_path / "big.csv", rows)
    trained = running.train(tmp_path, *tables.of(path, target="y"), "model=linear", *QUICK).path
    manifest = export("onnx", tmp_path / "out", trained)
    assert manifest["input_types"] == {"time": "float64", "value": "float32"}
    assert manifest["output_names"] == {"value": "predicted_value"}


def test_it_needs_neither_mlpkit_nor_torch(models: Models, tmp_path: Path) -> None:
    export("onnx", tmp_path / "out", models.run("relu activation"))
    command = [sys.executable, "-I", "-c", RUN, str(tmp_path / "out/model.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert len(eval(done.stdout)) == 3
