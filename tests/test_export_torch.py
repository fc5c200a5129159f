"""`mlpkit export --format torch`: a program that predicts as mlpkit does, in a Python without it."""

from pathlib import Path

import numpy as np
import pytest
import tables
import torch
from conftest import Forget
from exporting import KINDS, OWN, QUICK, Models, export, predicted

from mlpkit.analysis.predict import make_predictor
from mlpkit.cli.main import run as command
from mlpkit.deploy.check_rows import made_rows
from mlpkit.deploy.compare import compare
from mlpkit.deploy.format import FilePredictions, Source
from mlpkit.deploy.torch_program import Program, to_numbers
from mlpkit.folders.checkpoint import load


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_it_predicts_the_same(kind: str, models: Models, tmp_path: Path) -> None:
    export("torch", tmp_path / "out", models.run(kind))


@pytest.mark.long
def test_an_ensemble_and_a_threshold(models: Models, tmp_path: Path) -> None:
    export("torch", tmp_path / "out", models.sweep(), "--ensemble", "--threshold", "0.3")


@pytest.mark.sampled(4)
@pytest.mark.parametrize("kind", KINDS)
def test_the_module_predicts_the_same_before_it_is_a_file(kind: str, models: Models) -> None:
    """Writing and reading the file takes 8 seconds."""
    stored = load(models.run(kind) / "checkpoints" / "best.safetensors")
    source = Source(make_predictor(stored), stored.config)
    rows, encoder = made_rows(source.predictor.network, source.schema), source.schema.encoder
    numbers = rows.features if encoder is None else to_numbers(encoder, rows)
    with torch.no_grad():
        found = Program(source).eval()(torch.from_numpy(numbers))
    label, outputs = (None, found) if isinstance(found, torch.Tensor) else (found[0].numpy(), found[1])
    compare(source, rows, FilePredictions(outputs.numpy(), label))


@pytest.mark.long
def test_raw_numbers_give_what_predict_gives(models: Models, tmp_path: Path) -> None:
    rows = tables.customers(3, seed=1)
    rows[0] |= {"age": "", "city": "Berlin", "plan": 2, "smoker": "yes", "signup": "2023-02-03T12:00"}
    rows[1] |= {"age": 40, "city": "", "plan": 3, "smoker": "maybe", "signup": ""}
    rows[2] |= {"age": 41, "city": "Rome", "plan": 1, "smoker": "no", "signup": "1970-01-02"}
    run = models.run("binary")
    expected = predicted(run, rows, tmp_path)
    manifest = export("torch", tmp_path / "out", run)
    assert list(manifest["files"]) == ["model.pt2"]
    given = {
        "age": [np.nan, 40, 41],
        "city": [-1, np.nan, 2],
        "plan": [1, 2, 0],
        "smoker": [1, 0.5, 0],
        "signup": [19391.5, np.nan, 1],
    }
    columns = [given.get(name) or [float(str(row[name])) for row in rows] for name in manifest["columns"]]
    program = torch.export.load(tmp_path / "out/model.pt2").module()
    label, probabilities = program(torch.tensor(columns, dtype=torch.float64).T.contiguous())
    assert label.tolist() == expected["label"].tolist()
    np.testing.assert_allclose(probabilities[:, 1], expected["p(yes)"], atol=2e-6)


@pytest.mark.long
@pytest.mark.parametrize("model", [("wide",), ("mlp", "model.hidden=[4]", "model.activation=cubic")])
def test_code_of_the_users_own(model: tuple[str, ...], own: Forget, tmp_path: Path) -> None:
    """Which the other formats refuse."""
    plugin = tmp_path / "own.py"
    plugin.write_text(OWN)
    settings = ("dataset=moons", f"model={model[0]}", *model[1:], *QUICK, f"run.root={tmp_path}")
    assert command(["train", *settings, "--plugin", str(plugin)]) == 0
    (run,) = (path.parent for path in tmp_path.rglob("config.yaml"))
    export("torch", tmp_path / "out", run, "--plugin", plugin)


@pytest.mark.long
def test_a_value_that_predict_refuses_gives_nan(models: Models, tmp_path: Path) -> None:
    manifest = export("torch", tmp_path / "out", models.run("refusing"))
    rows = torch.zeros((3, len(manifest["columns"])), dtype=torch.float64)
    rows[1, manifest["columns"].index("city")] = -1
    rows[2, manifest["columns"].index("calls")] = torch.inf
    label, probabilities = torch.export.load(tmp_path / "out/model.pt2").module()(rows)
    assert probabilities.isfinite().all(1).tolist() == [True, False, False]
    assert label.tolist()[1:] == [-1, -1]
