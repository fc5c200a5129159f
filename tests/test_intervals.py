"""Intervals of scores against scipy's bootstrap and a simulated truth; thresholds against all others."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Refused
from running import config, train
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from mlpkit.analysis.baselines import evaluate_baselines
from mlpkit.analysis.evaluate import evaluate
from mlpkit.analysis.intervals import bootstrap, wilson
from mlpkit.analysis.predict import load_predictor
from mlpkit.analysis.threshold import best_threshold
from mlpkit.cli.main import run as command
from mlpkit.config.metric import MetricConfig
from mlpkit.config.registry import choices
from mlpkit.data.load import load_dataset
from mlpkit.folders.run_folder import RunFolder
from mlpkit.system.plain_json import read_object
from mlpkit.tasks import TASKS, Task

BINARY, REGRESSION = TASKS["binary"], TASKS["regression"]


def metric(name: str) -> MetricConfig:
    """Return a metric."""
    found = choices("metric")[name].model_validate({"name": name})
    assert isinstance(found, MetricConfig)
    return found


def intervals(
    task: Task, losses: Tensor, outputs: Tensor, truth: Tensor, metrics: Sequence[MetricConfig] = ()
) -> dict[str, tuple[float, float]]:
    """Return the intervals of unweighted rows."""
    return bootstrap(task, [losses, *task.statistics(outputs, truth)], outputs, truth, metrics)


def truth_of(task: Task, targets: Tensor) -> Tensor:
    """Return what scores compare outputs with."""
    return task.truth(task.encode(targets, torch.float64))


def drawn(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return outputs of a model of two classes, and labels."""
    random = torch.Generator().manual_seed(seed)
    outputs = torch.randn(rows, 1, generator=random, dtype=torch.float64)
    return outputs, (torch.rand(rows, generator=random) < torch.sigmoid(2 * outputs[:, 0])).long()


def test_intervals_are_those_of_scipy() -> None:
    """Both draw at random: the ends agree within a few percent of the width."""
    outputs, labels = drawn(300, 0)
    losses = torch.nn.functional.softplus(outputs[:, 0])
    found = intervals(BINARY, losses, outputs, truth_of(BINARY, labels), [metric("roc_auc")])
    right = ((outputs[:, 0] > 0).long() == labels).double().numpy()
    expected = stats.bootstrap(
        (losses.numpy(),), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert found["loss"] == pytest.approx(tuple(expected), abs=0.1 * (expected.high - expected.low))
    wilson = stats.binomtest(int(right.sum()), 300).proportion_ci(method="wilson")
    assert found["accuracy"] == pytest.approx((wilson.low, wilson.high))
    low, high = found["roc_auc"]
    auc = metric("roc_auc").score(labels, torch.cat((1 - outputs, outputs), 1), labels)
    assert low < auc < high and 0.05 < high - low < 0.15


def test_equal_arguments_give_equal_intervals_within_the_range() -> None:
    outputs, labels = drawn(50, 1)
    arguments = BINARY, torch.ones(50), outputs.abs() * (2 * labels[:, None] - 1), truth_of(BINARY, labels)
    assert intervals(*arguments) == intervals(*arguments)
    low, high = intervals(*arguments)["accuracy"]
    assert 0.9 < low < high == 1
    one_class = intervals(BINARY, torch.ones(3), outputs[:3], torch.zeros(3, 1) > 0, [metric("roc_auc")])
    assert np.isnan(one_class["roc_auc"]).all()


@pytest.mark.long
def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of 1,000 splits of 200 rows; the truth is the score of a million rows."""
    outputs, labels = drawn(1_000_000, 10_000)
    right = float(((outputs[:, 0] > 0).long() == labels).double().mean())
    errors = float(np.sqrt(2 / np.pi))  # of a normal error
    held = {"accuracy": 0, "mae": 0, "rmse": 0}
    for seed in range(1000):
        outputs, labels = drawn(200, seed)
        accuracy = intervals(BINARY, torch.ones(200), outputs, truth_of(BINARY, labels))["accuracy"]
        held["accuracy"] += accuracy[0] <= right <= accuracy[1]
        noise = torch.randn(200, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        found = intervals(REGRESSION, torch.ones(200), outputs + noise, truth_of(REGRESSION, outputs))
        held["mae"] += found["mae"][0] <= errors <= found["mae"][1]
        held["rmse"] += found["rmse"][0] <= 1 <= found["rmse"][1]
    assert all(930 <= count <= 970 for count in held.values()), held


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run on two moons that overlap."""
    root = tmp_path_factory.mktemp("run")
    few = ("dataset=moons", "dataset.noise=0.5", "model=mlp", "optimizer.lr=0.05")
    short = ("trainer.epochs=50", "run.plots=false", "run.metrics=[f1]")
    return train(root, *few, *short, f"run.dir={root / 'it'}")


def cells(printed: str) -> dict[str, list[str]]:
    """Return the table of scores by row."""
    lines = (
        line
        for line in printed.split("\n\n")[0].splitlines()[1:]
        if not re.search("^loss: |^calibration: | than ", line)
    )
    named = (re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in lines)
    return {name: values.split() for name, values in named}


def test_evaluate_shows_intervals_and_baselines(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["evaluate", str(run.path)]) == 0
    table = cells(capsys.readouterr().out)
    assert list(table) == ["test", "95 % from", "95 % to", "majority", "logistic regression"]
    score, low, high = (float(table[name][1]) for name in ("test", "95 % from", "95 % to"))
    assert 0 <= low <= score <= high <= 1
    assert len(table["majority"]) == 2  # accuracy and f1, without the loss
    final = read_object(run.summary)["final"]
    assert final["intervals"]["accuracy"] == pytest.approx([low, high], abs=5e-5)
    assert final["split"] == "test"
    assert command(["evaluate", str(run.path), "dataset.seed=5"]) == 0
    assert list(cells(capsys.readouterr().out)) == ["test", "95 % from", "95 % to"]


@pytest.mark.long
@pytest.mark.parametrize("score", ["f1", "balanced_accuracy"])
def test_the_best_threshold_is_that_of_a_search_through_all(run: RunFolder, score: str) -> None:
    predictor, stored = load_predictor(run.best)
    val = load_dataset(stored.config.dataset).splits["val"]
    p = predictor.predict(val.inputs).probabilities
    assert p is not None
    judge = f1_score if score == "f1" else balanced_accuracy_score
    values = [judge(val.targets, p[:, 1] > threshold) for threshold in np.linspace(0, 1, 401)]
    threshold = best_threshold(predictor.outputs(val.inputs), val.targets, score)
    predictor.task = predictor.task.at_threshold(threshold)
    assert judge(val.targets, predictor.predict(val.inputs).values) == pytest.approx(max(values))


@pytest.mark.long
def test_a_threshold_is_chosen_on_validation_rows(
    run: RunFolder, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    it = str(run.path)
    assert command(["evaluate", it, "--threshold", "best"]) == 0
    printed, said = capsys.readouterr()
    threshold = said.split()[1].removesuffix(",")
    assert said == f"threshold {threshold}, which has the highest f1 on val\n"
    assert command(["evaluate", it, "--threshold", threshold]) == 0
    typed_one = cells(capsys.readouterr().out)
    chosen = cells(printed)
    assert chosen["test"] == typed_one["test"]
    assert chosen["logistic regression"] != typed_one["logistic regression"], "its threshold is chosen, too"
    majority = typed_one["majority"][0]
    for typed in ("1e-9", "0.999999999"):
        assert command(["evaluate", it, "--threshold", typed]) == 0
        rows_of = {0: 46, 1: 54}  # of the test split; all are labelled as one class
        table = cells(capsys.readouterr().out)
        assert float(table["test"][1]) in {n / 100 for n in rows_of.values()}
        assert table["majority"][0] == majority  # the training rows' larger class, at any threshold
    assert (
        command(["predict", it, "--split", "test", "--threshold", "0.9", "--output", f"{tmp_path}/p.csv"])
        == 0
    )
    with (tmp_path / "p.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["class"] == "lower" for row in rows if float(row["p(lower)"]) > 0.9} == {True}
    assert {row["class"] == "upper" for row in rows if float(row["p(lower)"]) < 0.9} == {True}


@pytest.mark.long
def test_a_baseline_is_beaten_if_the_difference_on_the_same_rows_is_sure(run: RunFolder) -> None:
    """As scipy finds it; where the model has a threshold of its own, so has the baseline."""
    predictor, stored = load_predictor(run.best)
    dataset = load_dataset(stored.config.dataset)
    rows, val, train_rows = (dataset.splits[name] for name in ("test", "val", "train"))
    found = evaluate(predictor, "test", rows)
    baselines = evaluate_baselines(predictor, dataset, rows, found.draws, predictor.task)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(train_rows.inputs.double().numpy(), train_rows.targets.numpy())
    said = model.predict(rows.inputs.double().numpy())
    right = predictor.predict(rows.inputs).values == rows.targets
    gains = right.double().numpy() - (said == rows.targets.numpy())
    low, high = stats.bootstrap((gains,), np.mean, method="percentile", rng=1).confidence_interval
    by = baselines["logistic regression"].better_by
    assert by == pytest.approx((low, high), abs=0.015)
    assert baselines["logistic regression"].is_beaten is (by[0] > 0)
    assert baselines["majority"].is_beaten, "0.8 against 0.46"
    tuned = evaluate_baselines(predictor, dataset, rows, found.draws, predictor.task, "f1")
    p_val = model.predict_proba(val.inputs.double().numpy())[:, 1]
    best = max(np.linspace(0.01, 0.99, 99), key=lambda at: f1_score(val.targets, p_val > at))
    p = model.predict_proba(rows.inputs.double().numpy())[:, 1]
    assert tuned["logistic regression"].scores["f1"] == pytest.approx(
        f1_score(rows.targets, p > best), abs=0.02
    )


def test_a_class_weight_leaves_the_interval_of_the_accuracy(tmp_path: Path) -> None:
    few = (
        "dataset=moons",
        "model=mlp",
        "trainer.epochs=2",
        "run.plots=false",
        "trainer.class_weight=balanced",
    )
    final = read_object(train(tmp_path, *few).summary)
    rows = load_dataset(config("dataset=moons").dataset).splits["test"]
    right = round(final["best"]["test"]["accuracy"] * len(rows))
    assert final["final"]["intervals"]["accuracy"] == pytest.approx(list(wilson(right, len(rows))))


def test_few_rows_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ("dataset=moons", "dataset.n=40", "model=mlp", "trainer.epochs=2", "run.plots=false")
    folder = train(tmp_path, *few)
    capsys.readouterr()
    assert command(["evaluate", str(folder.path)]) == 0
    assert "fewer than 30 rows: bootstrap intervals are too narrow" in capsys.readouterr().out


def test_what_is_no_threshold(run: RunFolder, refused: Refused, tmp_path: Path) -> None:
    it = ("evaluate", str(run.path))
    for typed in ("0", "1", "2", "nan", "x"):
        line = refused(*it, f"--threshold={typed}", code=2)
        assert line == f"--threshold={typed}: must be a number between 0 and 1"
    line = refused("predict", str(run.path), "--split=test", "--threshold=best", code=2)
    assert line.endswith("between 0 and 1; mlpkit evaluate --threshold best prints the best one")
    line = refused(*it, "--threshold=best:accuracy", code=2)
    assert line == "--threshold=best:accuracy: must be best:f1 or best:balanced_accuracy"
    line = refused(*it, "--threshold=best", "--split=val", code=2)
    assert line.startswith("--threshold=best: needs validation rows to choose on, and other rows to score; ")
