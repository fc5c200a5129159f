"""Each recipe in configs/experiment/ reaches its figure.

Figures are of the last epoch unless they say otherwise, so that nothing was chosen by the test split.
"""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from real_data import needs_real_data, real_data
from running import config, train

from mlpkit.analysis.diagnose import diagnose_run
from mlpkit.folders.checkpoint import load
from mlpkit.folders.run_folder import RunFolder

BARE = ("run.plots=false", "run.tensorboard=false")


def recipe(root: Path, name: str, *overrides: str) -> tuple[RunFolder, dict[str, Any]]:
    folder = train(root, f"experiment={name}", *BARE, *overrides)
    if not overrides:  # the figures as they are: nothing is to be mended
        assert diagnose_run(folder.path) == []
        assert "; try " not in folder.log.read_text()
    return folder, json.loads(folder.summary.read_text())


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPKIT_DATA", str(real_data()))


def line_of(folder: RunFolder) -> tuple[float, float]:
    model = load(folder.last).state.model
    return model["layers.0.weight"].item(), model["layers.0.bias"].item()


def test_sum(tmp_path: Path) -> None:
    folder, summary = recipe(tmp_path, "sum")
    assert (summary["epochs"], summary["steps"]) == (500, 500)
    assert summary["train"]["loss"] < 1e-12
    model = load(folder.last).state.model
    torch.testing.assert_close(model["layers.0.weight"], torch.ones(1, 2), atol=1e-4, rtol=0)
    assert abs(model["layers.0.bias"].item()) < 1e-4


def test_line(tmp_path: Path) -> None:
    slope, _ = line_of(recipe(tmp_path, "line")[0])
    assert abs(slope - 3) < 0.3


def test_line_exact(tmp_path: Path) -> None:
    slope, intercept = line_of(recipe(tmp_path, "line_exact")[0])
    assert abs(slope - 2) < 1e-3
    assert abs(intercept - 1) < 1e-3


def test_moons_logistic(tmp_path: Path) -> None:
    folder, summary = recipe(tmp_path, "moons_logistic")
    assert summary["test"]["accuracy"] > 0.85
    assert set(load(folder.last).state.model) == {"layers.0.weight", "layers.0.bias"}, (
        "one layer: a straight boundary"
    )


def test_moons_mlp_of_its_own_seed(tmp_path: Path) -> None:
    assert recipe(tmp_path, "moons_mlp")[1]["test"]["accuracy"] >= 0.95


@pytest.mark.slow
def test_moons_mlp(tmp_path: Path) -> None:
    summaries = [recipe(tmp_path, "moons_mlp", f"seed={seed}")[1] for seed in range(10)]
    accuracies = [summary["test"]["accuracy"] for summary in summaries]
    assert config("experiment=moons_mlp").seed == 0
    assert accuracies[0] >= 0.95
    assert statistics.median(accuracies) >= 0.95


@pytest.mark.long
@needs_real_data
@pytest.mark.usefixtures("data")
def test_fashion_mlp(tmp_path: Path) -> None:
    folder, summary = recipe(tmp_path, "fashion_mlp")
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["split"] == "test"] == list(range(1, 11))
    assert summary["best"]["test"]["accuracy"] >= 0.83
    assert summary["test"]["accuracy"] >= 0.81


@pytest.mark.long
@needs_real_data
@pytest.mark.usefixtures("data")
def test_mnist_mlp(tmp_path: Path) -> None:
    assert recipe(tmp_path, "mnist_mlp")[1]["test"]["accuracy"] >= 0.972


@needs_real_data
@pytest.mark.slow
@pytest.mark.usefixtures("data")
def test_mnist_best(tmp_path: Path) -> None:
    assert recipe(tmp_path, "mnist_best")[1]["test"]["accuracy"] >= 0.993


@needs_real_data
@pytest.mark.slow
@pytest.mark.usefixtures("data")
def test_mnist_committee(tmp_path: Path) -> None:
    assert recipe(tmp_path, "mnist_committee")[1]["test"]["accuracy"] >= 0.995


@needs_real_data
@pytest.mark.slow
@pytest.mark.usefixtures("data")
def test_fashion_best(tmp_path: Path) -> None:
    assert recipe(tmp_path, "fashion_best")[1]["test"]["accuracy"] >= 0.90


@needs_real_data
@pytest.mark.slow
@pytest.mark.usefixtures("data")
def test_mnist_regularized(tmp_path: Path) -> None:
    summary = recipe(tmp_path, "mnist_regularized")[1]
    assert summary["test"]["accuracy"] >= 0.990
    assert summary["train_seconds"] < 180
