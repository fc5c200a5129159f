"""`mlpkit export --format sklearn`: an estimator of mlpkit.sklearn that predicts as mlpkit does."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tables
from conftest import Refused
from exporting import KINDS, Models, export, odd_rows, predicted


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_it_predicts_the_same(kind: str, models: Models, tmp_path: Path) -> None:
    """`export` itself compares the predictions in a fresh process."""
    manifest = export("sklearn", tmp_path / "out", models.run(kind))
    assert list(manifest["files"]) == ["model.py", "model.safetensors"]


@pytest.mark.long
def test_it_is_an_estimator_of_data_frames(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export("sklearn", tmp_path / "out", models.run("multiclass"), "--name", "exported")
    monkeypatch.syspath_prepend(tmp_path / "out")
    module = importlib.import_module("exported")
    rows = odd_rows(tables.customers(30, seed=1))
    expected = predicted(models.run("multiclass"), rows, tmp_path)
    frame = pd.read_csv(tmp_path / "rows.csv")[list(module.estimator.feature_names_in_)]
    found = module.estimator.predict_proba(frame)
    names = [name for name in expected if name.startswith("p(")]
    assert np.allclose(found, np.column_stack([expected[name] for name in names]), atol=1e-6)
    assert module.estimator.predict(frame).tolist() == list(expected["class"])
    sys.modules.pop("exported")


@pytest.mark.long
def test_an_ensemble_is_one_estimator(models: Models, tmp_path: Path) -> None:
    manifest = export("sklearn", tmp_path / "out", models.sweep(), "--ensemble")
    assert list(manifest["files"]) == [*(f"member-00{number}.safetensors" for number in range(3)), "model.py"]


def test_what_no_estimator_can_be_is_refused(
    models: Models, tmp_path: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(models.run("binary"))
    capsys.readouterr()  # of its training, if no other test has trained it
    line = refused("export", run, "--format=sklearn", "--threshold=0.3", f"--output={tmp_path}/out", code=2)
    assert line.startswith("--format=sklearn: an estimator has no threshold; ")
