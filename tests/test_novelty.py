"""`--novelty`: rows unlike the training rows are told from others."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Refused
from PIL import Image
from running import content, train
from sklearn.neighbors import NearestNeighbors

import mlpkit
from mlpkit.analysis import novelty
from mlpkit.analysis.named_run import open_run
from mlpkit.analysis.novelty import LIMIT, UnlikeRows, fit_novelty
from mlpkit.analysis.predict import Predictor, load_predictor, make_predictor
from mlpkit.analysis.predictions import Predictions
from mlpkit.analysis.predictions_file import as_columns
from mlpkit.cli.main import run as command
from mlpkit.data.dataset import Split
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.load import load_dataset
from mlpkit.deploy.serve_answers import as_json
from mlpkit.deploy.serve_model import Served
from mlpkit.deploy.serve_rows import Rows
from mlpkit.errors import ConfigError, DataError
from mlpkit.folders import checkpoint
from mlpkit.folders.trust import Trust

QUICK = ("trainer.epochs=1", "run.plots=false", "run.loggers=[]")


class Unscaled(Predictor):
    """Does not scale its inputs."""

    def __init__(self) -> None:
        """Take nothing."""

    def scaled(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the inputs."""
        return inputs


def drawn(rows: int, random: torch.Generator) -> Split:
    """Return rows of three normal columns."""
    return Split(torch.randn(rows, 3, generator=random), torch.zeros(rows, 1))


@pytest.mark.long
def test_one_row_in_a_hundred_is_flagged_on_average_and_far_ones_always() -> None:
    random, shares = torch.Generator().manual_seed(0), []
    for _ in range(20):
        found = fit_novelty(Unscaled(), drawn(1000, random), seed=0)
        new = found.of(drawn(1000, random).inputs)
        shares.append(float((new >= LIMIT).double().mean()))
        assert float(new.mean()) == pytest.approx(0.5, abs=0.05)
    assert np.mean(shares) == pytest.approx(1 - LIMIT, abs=0.003)
    assert found.of(torch.tensor([[9.0, 0, 0], [0, 0, 0]])).tolist() == [1, pytest.approx(0, abs=0.2)]


def test_the_distances_are_those_of_scikit_learn(tmp_path: Path) -> None:
    chosen = ("dataset=moons", "dataset.standardize=true", "model=logistic", *QUICK)
    predictor, stored = load_predictor(train(tmp_path, *chosen).best)
    splits = load_dataset(stored.config.dataset).splits
    rows, new = (splits[name].inputs.double().numpy() for name in ("train", "test"))
    mean, std = rows.mean(0), rows.std(0)
    near = NearestNeighbors(n_neighbors=5).fit((rows - mean) / std)
    own, of_new = near.kneighbors()[0][:, -1], near.kneighbors((new - mean) / std)[0][:, -1]
    expected = (own[None, :] < of_new[:, None]).mean(1)
    found = fit_novelty(predictor, splits["train"], stored.config.seed).of(splits["test"].inputs)
    np.testing.assert_allclose(found, expected, atol=1.5 / len(rows))  # rounding may swap two distances


def test_few_and_many_training_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    random = torch.Generator().manual_seed(1)
    few = fit_novelty(Unscaled(), Split(torch.tensor([[0.0], [1.0], [3.0]]), torch.zeros(3, 1)), seed=0)
    assert few.distances.tolist() == [2, 3, 3]  # to the second nearest, since there is no fifth
    assert few.of(torch.tensor([[1.0], [9.0]])).tolist() == [0, 1]
    monkeypatch.setattr(novelty, "_MOST_ROWS", 50)
    many = fit_novelty(Unscaled(), drawn(200, random), seed=0)
    assert many.rows.shape == (50, 3) and many.distances.shape == (50,)


def test_predict_adds_a_column_and_warns(
    trained: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, rows, target = str(trained["moons"]), tmp_path / "new.csv", tmp_path / "p.csv"
    rows.write_text("x1,x2\n0,1\n40,0\n0.5,-30\n")
    capsys.readouterr()
    assert command(["predict", run, "--input", str(rows), "--novelty", "--output", str(target)]) == 0
    assert "warning: 2 of 3 rows unlike the training rows (novelty ≥ 0.99): row 2, row 3\n" in (
        capsys.readouterr().err
    )
    with target.open() as stream:
        found = [float(row["novelty"]) for row in csv.DictReader(stream)]
    assert found[0] < LIMIT and found[1:] == [1, 1]
    unlike = UnlikeRows()
    unlike.add(torch.tensor([0.5, 0.98]), ())
    assert unlike.warning() == ""
    for _ in range(2):
        unlike.add(torch.ones(4), ())
    assert unlike.warning().endswith(": row 3, row 4, row 5, row 6, row 7 and 3 more")
    of_files = UnlikeRows()
    of_files.add(torch.ones(1), ("a.png",))
    assert of_files.warning().endswith(": a.png")


def test_evaluate_prints_the_rate(trained: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert command(["evaluate", str(trained["moons"]), "--novelty"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("novelty: "))
    predictor, stored = load_predictor(trained["moons"] / "checkpoints/best.safetensors")
    splits = load_dataset(stored.config.dataset).splits
    found = fit_novelty(predictor, splits["train"], stored.config.seed).of(splits["test"].inputs)
    unlike = int((found >= LIMIT).sum())
    assert line.startswith(f"novelty: {unlike} of {len(found)} rows unlike the training rows: ")


def test_a_target_of_that_name_keeps_its_column() -> None:
    schema = InputSchema(task="regression", features=("x",), input_shape=(1,), targets=("novelty",))
    columns = as_columns(Predictions(torch.tensor([[2.0]]), None), schema, novelty=torch.tensor([0.5]))
    assert columns == {"novelty": [2], "novelty(inputs)": [0.5]}


def test_what_is_refused(
    trained: dict[str, Path], tmp_path: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(trained["moons"])
    for name in ("predict", "evaluate"):
        assert refused(name, run, "--split", "train", "--novelty", code=2) == (
            "--novelty: compares rows with those of training, and --split=train holds such rows; name "
            "others, such as --split test"
        )
    assert "all rows of --out-of-fold are training rows" in refused(
        "predict", run, "--out-of-fold", "--novelty", code=2
    )
    folds = train(
        tmp_path,
        *("dataset=iris", "model=mlp", "model.hidden=[4]", "model.members=2", "dataset.val_folds=2"),
        *QUICK,
    ).path
    capsys.readouterr()
    assert "--split=val holds such rows" in refused(
        "evaluate", str(folds), "--split", "val", "--novelty", code=2
    )
    with pytest.raises(ConfigError, match="one training row"):
        fit_novelty(Unscaled(), Split(torch.zeros(1, 1), torch.zeros(1, 1)), seed=0)


# ------------------------------------------------------------------------------------ stored in a checkpoint


def novelties(run: Path, target: Path, *arguments: str) -> list[float]:
    """Return the column of `mlpkit predict --novelty`."""
    assert command(["predict", str(run), *arguments, "--novelty", "--output", str(target)]) == 0
    with target.open() as stream:
        return [float(row["novelty"]) for row in csv.DictReader(stream)]


def test_what_is_stored_needs_no_data(
    tmp_path: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    table, rows = tmp_path / "train.csv", tmp_path / "new.csv"
    values = np.random.default_rng(0).normal(size=(300, 3))
    np.savetxt(table, values, "%.6f", ",", header="a,b,y", comments="")
    rows.write_text("a,b\n0.1,0.2\n30,0\n")
    chosen = ("dataset=table", f"dataset.path={table}", "dataset.target=y", "model=linear", *QUICK)
    run = train(tmp_path, *chosen)
    before = content(run.best)
    from_data = novelties(run.path, tmp_path / "a.csv", "--input", str(rows))
    assert from_data[0] < LIMIT and from_data[1] == 1
    assert command(["calibrate", str(run.path), "--novelty"]) == 0
    assert f"compares with 180 training rows: {run.best}" in capsys.readouterr().out
    assert content(run.best) | {"tensors": None} == before | {"tensors": None}  # nothing else has changed
    table.unlink()
    assert novelties(run.path, tmp_path / "b.csv", "--input", str(rows)) == from_data
    capsys.readouterr()
    assert command(["inspect", str(run.path)]) == 0
    assert "novelty: compares rows with 180 training rows" in capsys.readouterr().out
    model = mlpkit.load(run.path)
    np.testing.assert_allclose(model.novelty({"a": [0.1, 30], "b": [0.2, 0]}), from_data, rtol=1e-6)
    path, stored = open_run(str(run.path), "best", Trust.OWN)
    served = Served(make_predictor(stored), stored, path)
    encoded = torch.from_numpy(model.features({"a": [0.1, 30], "b": [0.2, 0]}))
    answer = as_json(served.predictor.predict(encoded), Rows(encoded, ()), served)
    found = [row["novelty"] for row in json.loads(bytes(answer.body))["predictions"]]
    np.testing.assert_allclose(found, from_data, rtol=1e-6)
    assert command(["calibrate", str(run.path), "--novelty", "--remove"]) == 0
    assert content(run.best) == before
    with pytest.raises(DataError, match="does not hold what rows are compared with; store it where"):
        mlpkit.load(run.path).novelty({"a": [0.1], "b": [0.2]})
    capsys.readouterr()
    line = refused("predict", str(run.path), "--input", str(rows), "--novelty", code=65)
    assert line.startswith("--novelty: needs the training rows: ") and line.endswith(
        "; or store it where the training data is: mlpkit calibrate RUN --novelty"
    )


def test_stored_tensors_of_another_shape_are_refused(trained: dict[str, Path], tmp_path: Path) -> None:
    stored = checkpoint.load(trained["moons"] / "checkpoints/best.safetensors")
    rows, distances = torch.zeros(5, 2), torch.zeros(5, dtype=torch.float64)
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, replace(stored, novelty={"rows": rows, "distances": distances}))
    assert checkpoint.load(path).novelty["rows"].shape == (5, 2)
    for wrong in (
        {"rows": torch.zeros(5, 3), "distances": distances},
        {"rows": rows, "distances": distances[:4]},
        {"rows": rows},
        {"distances": distances},
        {"rows": rows, "distances": distances, "more": rows},
    ):
        checkpoint.save(path, replace(stored, novelty=wrong))
        with pytest.raises(DataError, match="tensors are missing, extra, misshapen or mistyped: novelty/"):
            checkpoint.load(path)


@pytest.mark.long
@pytest.mark.parametrize("fault", ["one row", "no number", "unsorted"])
def test_stored_values_that_cannot_be_used_are_refused(
    fault: str, trained: dict[str, Path], tmp_path: Path, refused: Refused
) -> None:
    stored = checkpoint.load(trained["moons"] / "checkpoints/best.safetensors")
    rows, distances = torch.rand(5, 2), torch.rand(5, dtype=torch.float64).sort().values
    if fault == "one row":
        rows, distances = rows[:1], distances[:1]
    elif fault == "no number":
        rows[2, 1] = torch.nan
    else:
        distances = distances.flip(0)
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, replace(stored, novelty={"rows": rows, "distances": distances}))
    assert refused("predict", str(path), "--values", "1,2", "--novelty", code=65) == (
        f"{path}: no row can be compared with the training rows that it holds; store them anew with mlpkit "
        "calibrate RUN --novelty, or remove them with --novelty --remove"
    )


def test_pictures(trained: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Digits as they are are like those of training; noise is not."""
    run, random = str(trained["digits"]), np.random.default_rng(0)
    stored = checkpoint.load(trained["digits"] / "checkpoints/best.safetensors")
    test = load_dataset(stored.config.dataset).splits["test"]
    folder = tmp_path / "pictures" / "3"
    folder.mkdir(parents=True)
    (digit,) = test.inputs[test.targets == 3][:1].reshape(-1, 8, 8).numpy()
    for name, pixels in (("digit", digit * 255), ("noise", random.integers(0, 256, (8, 8)))):
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}.png")
    capsys.readouterr()
    found = novelties(trained["digits"], tmp_path / "p.csv", "--input", str(folder))
    assert found[0] < LIMIT and found[1] == 1
    assert "1 of 2 rows unlike the training rows (novelty ≥ 0.99): noise.png" in capsys.readouterr().err
    assert command(["evaluate", run, "--input", str(tmp_path / "pictures"), "--novelty"]) == 0
    assert "novelty: 1 of 2 rows unlike the training rows: 50.0%" in capsys.readouterr().out
    assert command(["evaluate", run, "--novelty", "--coverage", "0.9"]) == 0
    printed = capsys.readouterr().out
    assert f"of {len(test)} rows unlike" in printed and "coverage 0.9: reached" in printed
