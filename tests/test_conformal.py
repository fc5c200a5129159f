"""`--coverage`: sets and intervals hold the truth as often as they should."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Refused
from exporting import export
from running import config, train

from mlpkit.analysis.conformal import Conformal, fit_conformal
from mlpkit.analysis.predict import Predictor, load_predictor, make_predictor
from mlpkit.analysis.predictions import Predictions
from mlpkit.cli.main import run as command
from mlpkit.data.dataset import Split
from mlpkit.data.load import load_dataset
from mlpkit.tasks import TASKS

QUICK = ("run.plots=false", "run.loggers=[]", "trainer.epochs=20")


class Fixed(Predictor):
    """Says what its inputs are: logits, or values."""

    def __init__(self, task: str) -> None:
        """Take a task, or "quantiles": a regression with three of them."""
        self.has_ends = task == "quantiles"
        self.task = TASKS["regression" if self.has_ends else task]

    def predict(self, inputs: torch.Tensor) -> Predictions:
        """Return the inputs as predictions; of three columns, two as the ends of an interval."""
        values = inputs[:, :1] if self.has_ends else inputs
        return replace(self._decode(values), ends=inputs[:, 1:] if self.has_ends else None)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("rows", [20, 199])
@pytest.mark.parametrize("task", ["regression", "quantiles", "multiclass", "sure"])
def test_the_coverage_is_reached_on_average(task: str, rows: int) -> None:
    """Over draws of the validation rows the coverage is k / (n + 1), k = ⌈(n + 1) · 0.9⌉."""
    random = torch.Generator().manual_seed(3)

    def drawn(count: int) -> Split:
        if task == "regression":
            values = torch.randn(count, 1, generator=random)
            return Split(values, values + values.abs() * torch.randn(count, 1, generator=random))
        if task == "quantiles":  # the ends are too near, and cross where x < 0
            x = torch.randn(count, 1, generator=random)
            return Split(
                torch.cat((x, x - x, x + x), 1), x + x.abs() * torch.randn(count, 1, generator=random)
            )
        spread = 4 if task == "sure" else 1  # then half of the rows have a class with more than 0.9
        logits = spread * torch.randn(count, 6, generator=random)
        p = (1.3 / spread * logits).softmax(1)  # which the model does not know
        y = torch.multinomial(p, 1, generator=random)
        return Split(logits, y[:, 0])

    predictor, reached = Fixed("multiclass" if task == "sure" else task), []
    for _ in range(600):
        conformal, new = fit_conformal(predictor, drawn(rows), 0.9), drawn(200)
        reached.append(float(conformal.holds(predictor.predict(new.inputs), new.targets).double().mean()))
    expected = np.ceil((rows + 1) * 0.9) / (rows + 1)
    assert np.mean(reached) == pytest.approx(expected, abs=0.01)
    assert rows < 100 or np.mean(reached) == pytest.approx(0.9, abs=0.01)


def test_intervals_reach_beyond_both_quantiles_or_less_far() -> None:
    values, ends = torch.zeros(3, 1), torch.tensor([[-1.0, 1.0], [2.0, -2.0], [-0.1, 0.3]])
    for reach, low, high in (
        (0.5, [-1.5, -2.5, -0.6], [1.5, 2.5, 0.8]),
        (-0.5, [-0.5, -1.5, 0.1], [0.5, 1.5, 0.1]),
    ):
        found = Conformal(0.9, torch.tensor([reach])).low_and_high(Predictions(values, None, ends))
        for each, expected in zip(found, (low, high), strict=True):
            assert each[:, 0].tolist() == pytest.approx(expected)


NOISY = ("dataset=table", "dataset.target=y", "model=mlp", "model.hidden=[16]", "loss=quantiles")


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a table whose noise grows with x: y = sin 6x + (0.05 + 0.6 x) ε."""
    root, random = tmp_path_factory.mktemp("noisy"), np.random.default_rng(0)
    x, noise = random.uniform(size=3000), random.normal(size=3000)
    rows = np.column_stack((x, np.sin(6 * x) + (0.05 + 0.6 * x) * noise))
    np.savetxt(root / "noisy.csv", rows, "%.6f", ",", header="x,y", comments="")
    chosen = (*NOISY, f"dataset.path={root / 'noisy.csv'}", "optimizer.lr=0.01", *QUICK)
    return train(root, *chosen).path


def test_intervals_of_trained_quantiles_are_narrow_where_the_noise_is_small(
    noisy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "p.csv"
    arguments = ["predict", str(noisy), "--split", "test", "--coverage", "0.9", "--output", str(target)]
    assert command(arguments) == 0
    columns = {name: np.array(values, float) for name, values in read(target).items()}
    predictor, stored = load_predictor(noisy / "checkpoints/best.safetensors")
    splits = load_dataset(stored.config.dataset).splits
    val, test = splits["val"], splits["test"]
    network = predictor.network
    ends = {}
    for name, rows in (("val", val), ("test", test)):
        outputs = network.layers(network.scaling(rows.inputs)).detach()  # median, low, high
        ends[name] = (outputs * network.unscaling.std + network.unscaling.mean).numpy()
    y = val.targets[:, 0].numpy()
    scores = np.sort(np.maximum(ends["val"][:, 1] - y, y - ends["val"][:, 2]))
    reach = scores[int(np.ceil((len(y) + 1) * 0.9)) - 1]
    for name, place, sign in (("y", 0, 0), ("low", 1, -1), ("high", 2, 1)):
        np.testing.assert_allclose(columns[name], ends["test"][:, place] + sign * reach, atol=1e-5)
    width, x = columns["high"] - columns["low"], test.inputs[:, 0].argsort().argsort().numpy() / len(test)
    quiet, loud = (width[(x > low) & (x < high)].mean() for low, high in ((0.1, 0.3), (0.7, 0.9)))
    true = 2 * 1.645 * (0.05 + 0.6 * np.array([0.2, 0.8]))  # ± 1.645 σ hold nine normal values of ten
    assert [quiet, loud] == pytest.approx(true, rel=0.25)
    held = np.mean((columns["low"] <= columns["true_y"]) & (columns["true_y"] <= columns["high"]))
    capsys.readouterr()
    assert command(["evaluate", str(noisy), "--coverage", "0.9"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("coverage "))
    assert line.startswith(f"coverage 0.9: reached {held:.3f} (95 % ")
    assert f"; mean width {width.mean():.4g} (" in line and line.endswith(" for nine rows of ten)")
    assert held == pytest.approx(0.9, abs=0.04)  # two standard deviations of 600 rows, and of as many for val


def test_quantiles_of_members_and_several_targets(tmp_path: Path) -> None:
    """The ensemble's ends are the mean of its members', and what is exported predicts as mlpkit does."""
    random = np.random.default_rng(1)
    rows = random.normal(size=(200, 4))
    np.savetxt(tmp_path / "two.csv", rows, "%.6f", ",", header="a,b,y,z", comments="")
    run = train(
        tmp_path,
        *("dataset=table", f"dataset.path={tmp_path / 'two.csv'}", "dataset.target=[y,z]", "loss=quantiles"),
        *("model=mlp", "model.hidden=[4]", "model.members=2", "dataset.val_folds=2", *QUICK),
    ).path
    predictor, stored = load_predictor(run / "checkpoints/best.safetensors")
    inputs = load_dataset(stored.config.dataset).splits["test"].inputs
    found = predictor.predict(inputs)
    each = []
    for member in stored.members():
        network = make_predictor(member).network
        outputs = network.layers(network.scaling(inputs)).detach().unflatten(1, (3, 2))
        each.append((outputs * network.unscaling.std + network.unscaling.mean).flatten(1))
    assert found.ends is not None
    values = torch.cat((found.values, found.ends), 1)
    torch.testing.assert_close(values, torch.stack(each).mean(0), rtol=1e-4, atol=1e-5)
    val = load_dataset(stored.config.dataset).splits["val"]
    conformal = fit_conformal(predictor, val, 0.9)
    held = conformal.holds(predictor.on(val).predict(val.inputs), val.targets)
    assert (held.sum(0) >= 0.9 * len(val)).all()
    export("python", tmp_path / "python", run)


def test_sets_are_made_from_the_likeliest_class_down() -> None:
    p = torch.tensor([[0.2, 0.5, 0.3], [0.05, 0.05, 0.9], [0.4, 0.35, 0.25]])
    found = Conformal(0.9, torch.tensor(0.74)).sets(Predictions(p.argmax(1), p))
    assert found.tolist() == [[False, True, True], [False, False, True], [True, True, False]]
    targets = torch.tensor([0, 2, 1])
    assert Conformal(0.9, torch.tensor(0.74)).holds(Predictions(p.argmax(1), p), targets).tolist() == [
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
    assert refused("evaluate", run, "--split", "val", "--coverage", "0.9", code=2) == (
        "--coverage: is set by the validation rows; score others, such as --split test"
    )
    without = train(tmp_path / "no-val", "dataset=moons", "dataset.val_fraction=0", *QUICK).path
    line = refused("predict", str(without), "--values", "1,2", "--coverage", "0.9", code=2)
    assert "without validation rows" in line
