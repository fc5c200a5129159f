"""`--novelty`: rows unlike the training rows are told from others."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Refused
from running import train
from sklearn.neighbors import NearestNeighbors

from mlpkit.analysis import novelty
from mlpkit.analysis.novelty import LIMIT, UnlikeRows, fit_novelty
from mlpkit.analysis.predict import Predictions, Predictor, load_predictor
from mlpkit.analysis.predictions_file import as_columns
from mlpkit.cli.main import run as command
from mlpkit.data.dataset import Split
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.load import load_dataset
from mlpkit.errors import ConfigError

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
