"""Scores of a checkpoint agree with scikit-learn's, and never come from rows that it was trained on."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from running import config, mlpkit, train
from test_images import write_files

from mlpkit.analysis.evaluate import evaluate
from mlpkit.analysis.matching_data import without_rows_of
from mlpkit.analysis.predict import Predictor, load_predictor
from mlpkit.analysis.weights import readable_weights
from mlpkit.cli.main import run as command
from mlpkit.data.load import load_dataset
from mlpkit.folders.checkpoint import Checkpoint
from mlpkit.models.architecture import architecture

FAST = ("trainer.epochs=20", "run.plots=false", "run.tensorboard=false")


@pytest.mark.sampled(3)
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_run_predicts_what_it_scored(norm: str, precision: str, device: str, tmp_path: Path) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    chosen = (
        "dataset=digits", "dataset.augment.rotation=5", "trainer.epochs=2", "model.dropout=0.1",
        "run.plots=false", f"model.norm={norm}", f"trainer.precision={precision}", f"device={device}",
    )  # fmt: skip
    folder = train(tmp_path, *chosen)
    summary = json.loads(folder.summary.read_text())
    splits = load_dataset(config(*chosen).dataset).splits
    predictor, _ = load_predictor(folder.last, device if device == "cpu" else "cuda:0")
    for name, split in splits.items():
        found = evaluate(predictor, name, split).scores
        labels = predictor.predict(split.inputs).values
        assert found["accuracy"] == sk.accuracy_score(split.targets, labels)
        assert found == pytest.approx(summary[name], rel=1e-6)


def test_regression_scores_equal_sklearns_and_the_summary(tmp_path: Path) -> None:
    chosen = ("dataset=line", "dataset.standardize=true", "dataset.intercept=1e6", "model=linear", *FAST)
    folder = train(tmp_path, *chosen)
    predictor, _ = load_predictor(folder.last)
    split = load_dataset(config(*chosen).dataset).splits["test"]
    found = evaluate(predictor, "test", split)
    predicted = predictor.predict(split.inputs).values
    true, values = split.targets.double().numpy(), predicted.double().numpy()
    assert found.scores["mae"] == pytest.approx(sk.mean_absolute_error(true, values))
    assert found.scores["rmse"] == pytest.approx(np.sqrt(sk.mean_squared_error(true, values)))
    summary = json.loads(folder.summary.read_text())
    assert found.scores["loss"] == pytest.approx(summary["test"]["loss"], rel=1e-6)
    assert f"{sk.mean_squared_error(true, values):.6g}" in found.report


@pytest.fixture(scope="module")
def of_images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run on a small image set, and the folder of its files."""
    root = tmp_path_factory.mktemp("images")
    write_files(root / "data/MNIST/raw")
    chosen = ("dataset=mnist", f"dataset.root={root / 'data'}", "model=logistic", *FAST)
    return train(root / "outputs", *chosen).path, root / "data/MNIST/raw"


@pytest.mark.sampled(3)
@pytest.mark.parametrize("arguments", [("evaluate",), ("predict", "--split", "test"), ("plot",)])
def test_data_that_has_taken_the_place_of_the_runs_is_named(
    arguments: tuple[str, ...], of_images: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """In another order the same files deal training rows into the other splits."""
    run, folder = of_images
    name, *rest = arguments
    images = folder / "train-images-idx3-ubyte"
    whole = images.read_bytes()
    before = load_predictor(run / "checkpoints/best.safetensors")[1].fingerprint[:12]
    try:
        assert command([name, str(run), *rest]) == 0
        assert "warning" not in capsys.readouterr().err
        images.write_bytes(whole[:16] + whole[-784:] + whole[16:-784])
        assert command([name, str(run), *rest]) == 0
        said = " ".join(capsys.readouterr().err.split())
        expected = (
            r"warning: dataset=mnist: its data is not what the run was trained on \(fingerprint [0-9a-f]{12}"
            rf", was {before}\): any split of it may hold rows that the model was trained on"
        )
        assert len(re.findall(expected, said)) == 1
    finally:
        images.write_bytes(whole)


def test_training_rows_are_left_out_of_another_split() -> None:
    first = load_dataset(config("dataset=digits").dataset).splits
    other = load_dataset(config("dataset=digits", "dataset.seed=1").dataset).splits["test"]
    fresh = without_rows_of(other, first["train"])
    known = {tuple(row) for row in first["train"].inputs.tolist()}
    kept = [tuple(row) for row in fresh.inputs.tolist()]
    assert 0 < len(kept) < len(other)
    assert kept == [row for row in map(tuple, other.inputs.tolist()) if row not in known]
    assert len(without_rows_of(first["test"], first["train"])) == len(first["test"])


@pytest.mark.long
def test_evaluate_says_what_it_left_out(tmp_path: Path) -> None:
    mlpkit("train", "dataset=sum", "model=linear", *FAST, cwd=tmp_path)
    done = mlpkit("evaluate", "dataset.test_fraction=0.6", cwd=tmp_path)
    assert re.search(r"^left out \d+ of 600 rows, which the model was trained on$", done.stderr, re.M)
    done = mlpkit("evaluate", "dataset=line", cwd=tmp_path, check=False)
    assert done.returncode == 65
    assert "mlpkit: dataset=line: its features, input_shape differ from what" in done.stderr


def test_other_classes_are_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from real_data import real_data

    if real_data() is None:
        pytest.skip("no MNIST and FashionMNIST in $MLPKIT_DATA or ../shared/data")
    monkeypatch.setenv("MLPKIT_DATA", str(real_data()))
    chosen = (
        "dataset=mnist",
        "model=logistic",
        "trainer.epochs=1",
        "trainer.batch_size=4096",
        "run.plots=false",
    )
    folder = train(tmp_path, *chosen)
    assert command(["evaluate", str(folder.path), "dataset=fashion_mnist"]) == 65
    assert "dataset=fashion_mnist: its classes differ from what" in capsys.readouterr().err


def weights_of(predictor: Predictor, stored: Checkpoint) -> list[tuple[str, float]]:
    state, layers = predictor.network.state_dict(), architecture(stored.config, stored.input_schema)
    return readable_weights(layers, stored.input_schema, lambda name: state[name].tolist())


def test_readable_weights_are_those_of_raw_columns(tmp_path: Path) -> None:
    """With standardised columns inside, the line that is shown is the one that predicts."""
    chosen = ("dataset=sum", "dataset.standardize=true", "model=linear", *FAST)
    predictor, stored = load_predictor(train(tmp_path, *chosen).last)
    weights = dict(weights_of(predictor, stored))
    inputs = torch.rand(50, 2, generator=torch.Generator().manual_seed(0))
    by_hand = inputs[:, 0] * weights["x1"] + inputs[:, 1] * weights["x2"] + weights["bias"]
    torch.testing.assert_close(predictor.predict(inputs).values[:, 0], by_hand, rtol=1e-5, atol=1e-5)


def test_many_weights_are_not_shown(tmp_path: Path) -> None:
    predictor, stored = load_predictor(train(tmp_path, "dataset=moons", *FAST).last)
    assert weights_of(predictor, stored) == []
