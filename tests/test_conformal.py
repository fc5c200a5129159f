"""`--coverage`: sets and intervals hold the truth as often as they should."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Refused
from running import config, train

from mlpkit.analysis.conformal import Conformal, fit_conformal
from mlpkit.analysis.predict import Predictions, Predictor, load_predictor
from mlpkit.cli.main import run as command
from mlpkit.data.dataset import Split
from mlpkit.data.load import load_dataset
from mlpkit.tasks import TASKS

QUICK = ("run.plots=false", "run.loggers=[]", "trainer.epochs=20")


class Fixed(Predictor):
    """Says what its inputs are: logits, or values."""

    def __init__(self, task: str) -> None:
        """Take a task."""
        self.task = TASKS[task]

    def predict(self, inputs: torch.Tensor) -> Predictions:
        """Return the inputs as predictions."""
        return self._decode(inputs)


@pytest.mark.parametrize("rows", [20, 199])
@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_the_coverage_is_reached_on_average(task: str, rows: int) -> None:
    """Over draws of the validation rows the coverage is k / (n + 1), k = ⌈(n + 1) · 0.9⌉."""
    random = torch.Generator().manual_seed(3)

    def drawn(count: int) -> Split:
        if task == "regression":
            values = torch.randn(count, 1, generator=random)
            return Split(values, values + values.abs() * torch.randn(count, 1, generator=random))
        logits = torch.randn(count, 6, generator=random)
        y = torch.multinomial((1.3 * logits).softmax(1), 1, generator=random)  # which the model does not know
        return Split(logits, y[:, 0])

    predictor, reached = Fixed(task), []
    for _ in range(1500):
        conformal, new = fit_conformal(predictor, drawn(rows), 0.9), drawn(200)
        reached.append(float(conformal.holds(predictor.predict(new.inputs), new.targets).double().mean()))
    expected = np.ceil((rows + 1) * 0.9) / (rows + 1)
    assert np.mean(reached) == pytest.approx(expected, abs=0.01)
    assert rows < 100 or np.mean(reached) == pytest.approx(0.9, abs=0.01)


def test_sets_are_made_from_the_likeliest_class_down() -> None:
    p = torch.tensor([[0.2, 0.5, 0.3], [0.05, 0.05, 0.9], [0.4, 0.35, 0.25]])
    found = Conformal(0.9, torch.tensor(0.85)).sets(Predictions(p.argmax(1), p))
    assert found.tolist() == [[False, True, True], [False, False, True], [True, True, False]]
    targets = torch.tensor([0, 2, 1])
    assert Conformal(0.9, torch.tensor(0.85)).holds(Predictions(p.argmax(1), p), targets).tolist() == [
        False,
        True,
        True,
    ]


def read(path: Path) -> dict[str, list[str]]:
    """Return the columns of a csv file."""
    with path.open() as stream:
        rows = list(csv.DictReader(stream))
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_predict_writes_intervals_and_evaluate_their_coverage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ("dataset=diabetes", "model=linear", *QUICK)
    run, target = train(tmp_path, *chosen).path, tmp_path / "p.csv"
    assert (
        command(["predict", str(run), "--split", "test", "--coverage", "0.8", "--output", str(target)]) == 0
    )
    columns = read(target)
    (name,) = load_dataset(config(*chosen).dataset).input_schema.targets
    true, low, high = (np.array(columns[key], float) for key in (f"true_{name}", "low", "high"))
    predictor, _ = load_predictor(run / "checkpoints/best.safetensors")
    val = load_dataset(config(*chosen).dataset).splits["val"]
    residuals = np.sort((predictor.predict(val.inputs).values - val.targets).abs().numpy()[:, 0])
    half = residuals[int(np.ceil((len(val) + 1) * 0.8)) - 1]
    np.testing.assert_allclose((high - low) / 2, half, rtol=1e-5)
    np.testing.assert_allclose((high + low) / 2, np.array(columns[name], float), rtol=1e-5)
    capsys.readouterr()
    assert command(["evaluate", str(run), "--coverage", "0.8"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("coverage "))
    assert line.startswith(f"coverage 0.8: reached {np.mean((low <= true) & (true <= high)):.3f} (95 % ")
    assert line.endswith(f"; prediction ± {half:.4g}")


def test_predict_writes_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, target = train(tmp_path, "dataset=iris", "model=logistic", *QUICK).path, tmp_path / "p.csv"
    assert (
        command(["predict", str(run), "--split", "test", "--coverage", "0.9", "--output", str(target)]) == 0
    )
    columns = read(target)
    held = [true in found.split("|") for true, found in zip(columns["true"], columns["set"], strict=True)]
    assert all(c in f.split("|") for c, f in zip(columns["class"], columns["set"], strict=True))
    assert {len(found.split("|")) for found in columns["set"]} > {1}
    capsys.readouterr()
    assert command(["evaluate", str(run), "--coverage", "0.9"]) == 0
    assert f"coverage 0.9: reached {np.mean(held):.3f} (95 % " in capsys.readouterr().out


def test_what_is_refused(trained: dict[str, Path], tmp_path: Path, refused: Refused) -> None:
    run = str(trained["moons"])
    assert refused("predict", run, "--values", "1,2", "--coverage", "1", code=2) == (
        "--coverage=1: must be between 0 and 1, such as 0.9"
    )
    assert "needs at least 9,999 validation rows" in refused(
        "predict", run, "--values", "1,2", "--coverage", "0.9999", code=2
    )
    without = train(tmp_path / "no-val", "dataset=moons", "dataset.val_fraction=0", *QUICK).path
    line = refused("predict", str(without), "--values", "1,2", "--coverage", "0.9", code=2)
    assert "has no validation rows" in line
