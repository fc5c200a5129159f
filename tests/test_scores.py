"""mlpkit's own metrics equal scikit-learn's, and one of them can be monitored."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Refused
from running import config, train
from sklearn import metrics
from torch import Tensor

from mlpkit.analysis.predict import load_predictor
from mlpkit.cli.main import run as command
from mlpkit.config.metric import MetricConfig, higher_is_better
from mlpkit.config.registry import choices
from mlpkit.data.load import load_dataset
from mlpkit.system.plain_json import read_object
from mlpkit.tasks import TASKS

ROWS = 57  # no multiple of a batch


def outputs_of(task: str) -> tuple[Tensor, Tensor]:
    """Return outputs and targets that they are related to."""
    random = torch.Generator().manual_seed(0)
    width = {"regression": 2, "binary": 1, "multiclass": 4, "multilabel": 3}[task]
    outputs = torch.randn(ROWS, width, generator=random)
    noisy = outputs + torch.randn(ROWS, width, generator=random)
    if task == "regression":
        return outputs, noisy
    if task == "multiclass":
        return outputs, noisy.argmax(1)
    return outputs, (noisy > 0.5).float() if task == "multilabel" else (noisy[:, 0] > 0.5).long()


def value(name: str, task: str, outputs: Tensor, targets: Tensor) -> float:
    """Return a metric's value."""
    metric = choices("metric")[name].model_validate({"name": name})
    assert isinstance(metric, MetricConfig) and task in metric.tasks
    of = TASKS[task]
    truth = of.truth(of.encode(targets, outputs.dtype))
    return of.compute([metric], outputs, truth, may_be_nan=True)[0]


def expected_calibration_error(y: Any, said: Tensor, p: Tensor) -> float:
    """Return Σ |accuracy - mean probability| · rows / all rows over 15 bins, by a loop over them."""
    certainty, right = (p.max(1).values if p.dim() > 1 else p.maximum(1 - p)).numpy(), (said == y).numpy()
    total = 0.0
    for low in range(15):
        inside = (certainty > low / 15) & (certainty <= (low + 1) / 15)
        if inside.any():
            total += abs(right[inside].mean() - certainty[inside].mean()) * inside.sum()
    return float(total / len(y))


Reference = Callable[["np.ndarray[tuple[int], np.dtype[np.float64]]", Tensor, Tensor], float]

LABELS: dict[str, Reference] = {
    "balanced_accuracy": lambda y, said, p: metrics.balanced_accuracy_score(y, said),
    "precision": lambda y, said, p: metrics.precision_score(
        y, said, average="macro" if p.dim() > 1 else "binary"
    ),
    "recall": lambda y, said, p: metrics.recall_score(y, said, average="macro" if p.dim() > 1 else "binary"),
    "f1": lambda y, said, p: metrics.f1_score(y, said, average="macro" if p.dim() > 1 else "binary"),
    "roc_auc": lambda y, said, p: metrics.roc_auc_score(y, p, multi_class="ovr"),
    "average_precision": lambda y, said, p: metrics.average_precision_score(y, p),
    "log_loss": lambda y, said, p: metrics.log_loss(y, p),
    "brier": lambda y, said, p: metrics.brier_score_loss(y, p),
    "ece": lambda y, said, p: expected_calibration_error(y, said, p),
}


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize("name", LABELS)
def test_of_labels(name: str, task: str) -> None:
    outputs, targets = outputs_of(task)
    probabilities, said = TASKS[task].probabilities, TASKS[task].decode(outputs)
    assert probabilities is not None
    p = probabilities(outputs).double()
    p = p[:, 1] if task == "binary" else p / p.sum(1, keepdim=True) if task == "multiclass" else p
    found = LABELS[name] if task != "multilabel" else None
    if task == "multilabel":
        if name == "balanced_accuracy":
            return
        if name == "ece":  # each label of a row counts as a row
            expected = expected_calibration_error(targets.flatten(), said.flatten(), p.flatten())
            assert value(name, task, outputs, targets) == pytest.approx(expected, rel=1e-6)
            return
        each = [LABELS[name](targets[:, n], said[:, n], p[:, n]) for n in range(3)]
        assert value(name, task, outputs, targets) == pytest.approx(np.mean(each), rel=1e-6)
        return
    assert found is not None
    assert value(name, task, outputs, targets) == pytest.approx(found(targets, said, p), rel=1e-6)


@pytest.mark.parametrize("name", ["mape", "median_absolute_error", "pinball_10", "pinball_95"])
@pytest.mark.parametrize("targets", [1, 2])
def test_of_values(name: str, targets: int) -> None:
    outputs, y = (values[:, :targets] for values in outputs_of("regression"))
    said, true = outputs.double(), y.double()
    expected = {
        "mape": lambda: metrics.mean_absolute_percentage_error(true, said),
        "median_absolute_error": lambda: metrics.median_absolute_error(true, said),
        "pinball_10": lambda: metrics.mean_pinball_loss(true, said, alpha=0.1),
        "pinball_95": lambda: metrics.mean_pinball_loss(true, said, alpha=0.95),
    }[name]()
    assert value(name, "regression", outputs, y) == pytest.approx(expected)


def test_where_a_metric_is_not_defined_it_is_nan() -> None:
    outputs, targets = outputs_of("binary")[0], torch.zeros(ROWS, dtype=torch.int64)
    assert math.isnan(value("roc_auc", "binary", outputs, targets))
    assert math.isnan(value("average_precision", "binary", outputs, targets))
    for name in ("f1", "precision", "recall", "balanced_accuracy", "log_loss", "brier"):
        assert math.isfinite(value(name, "binary", outputs, targets))


def test_directions() -> None:
    for name in ("log_loss", "brier", "ece", "mape", "pinball_5", "loss", "mae", "rmse"):
        assert not higher_is_better(name)
    for name in ("roc_auc", "f1", "balanced_accuracy", "r2", "accuracy", "exact_match"):
        assert higher_is_better(name)


SHORT = (
    "dataset=moons",
    "dataset.noise=0.4",
    "model=mlp",
    "trainer.epochs=40",
    "run.plots=false",
    "optimizer.lr=0.05",
)


@pytest.mark.long
@pytest.mark.parametrize("monitor", ["loss", "val.roc_auc", "brier"])
def test_the_monitored_score_decides_the_best_epoch(tmp_path: Path, monitor: str) -> None:
    folder = train(tmp_path, *SHORT, f"trainer.monitor={monitor}")
    score = monitor.removeprefix("val.")
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    values = {line["epoch"]: line[score] for line in lines if line["split"] == "val"}
    best = read_object(folder.summary)["best"]
    wanted = (max if score == "roc_auc" else min)(values.values())
    assert (best["score"], best["value"], values[best["epoch"]]) == (score, wanted, wanted)
    predictor, stored = load_predictor(folder.best)
    val = load_dataset(stored.config.dataset).splits["val"]
    p = predictor.predict(val.inputs).probabilities
    assert p is not None
    if score == "roc_auc":
        assert metrics.roc_auc_score(val.targets, p[:, 1]) == pytest.approx(wanted)


@pytest.mark.long
def test_early_stopping_and_sweeps_follow_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stop = "trainer.early_stopping.patience=2"
    places = ("run.dir=many", "seed=0,1")
    assert command(["train", "-m", *SHORT, "trainer.monitor=log_loss", stop, *places]) == 0
    for seed, run in enumerate(
        sorted(path for path in Path("many").iterdir() if path.is_dir() and path.name != "tensorboard")
    ):
        alone = train(
            tmp_path, *SHORT, "trainer.monitor=log_loss", stop, f"seed={seed}", f"run.dir=alone{seed}"
        )
        found, expected = (read_object(place / "summary.json") for place in (run, alone.path))
        assert found["epochs"] == expected["epochs"] < 40
        assert found["best"]["epoch"] == expected["best"]["epoch"]
        assert found["best"]["value"] == pytest.approx(expected["best"]["value"], rel=1e-5)


def test_what_cannot_be_monitored(refused: Refused) -> None:
    train_it = ("train", *SHORT)
    assert refused(*train_it, "trainer.monitor=roc_au", code=2).startswith(
        "trainer.monitor=roc_au: must be auto or a score of binary: loss, accuracy, average_precision, "
    )
    assert refused(*train_it, "trainer.monitor=roc_au", code=2).endswith("did you mean roc_auc?")
    assert refused(*train_it, "trainer.monitor=train.loss", code=2) == (
        "trainer.monitor=train.loss: dataset=moons is monitored on val; write loss"
    )
    assert refused(*train_it, "trainer.monitor=a b", code=2).startswith("trainer.monitor=")


def test_old_configs_monitor_the_default_score() -> None:
    assert config("dataset=moons").trainer.monitor == "auto"


def test_a_metric_that_a_split_lacks_a_class_for_is_refused_before_training(refused: Refused) -> None:
    lines = [f"{row / 10},{'abc'[row % 3]},train" for row in range(30)]
    lines += [f"{row},{'abc'[row % 3]},val" for row in range(6)] + [
        f"{row},{'ab'[row % 2]},test" for row in range(6)
    ]
    Path("t.csv").write_text("\n".join(["x,y,part", *lines]) + "\n")
    words = ("data=t.csv", "target=y", "dataset.split.by=column", "dataset.split.column=part", "model=mlp")
    said = refused("train", *words, "run.metrics=[roc_auc]", code=2)
    assert said == "run.metrics=roc_auc: its value is nan for the rows of test; leave it out"


def test_a_short_epoch_without_a_class_has_no_value_for_train_and_goes_on(tmp_path: Path) -> None:
    chosen = (
        "dataset=moons",
        "model=logistic",
        "run.metrics=[roc_auc]",
        "run.plots=false",
        "trainer.epochs=8",
    )
    run = train(tmp_path, *chosen, "trainer.batch_size=2", "trainer.steps_per_epoch=1")
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    found = [line["roc_auc"] for line in lines if line["split"] == "train"]
    assert None in found and {0, 1} >= {value for value in found if value is not None}
    assert all(0 < line["roc_auc"] <= 1 for line in lines if line["split"] == "val")
    assert json.loads(run.summary.read_text())["train"]["roc_auc"] > 0  # of all rows
