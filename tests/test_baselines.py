"""Baselines equal scikit-learn's dummy and linear models."""

from pathlib import Path

import numpy as np
import pytest
import torch
from running import config, train
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlpkit.analysis.baselines import constant_outputs, linear_outputs, scores_of_outputs
from mlpkit.data.dataset import Dataset, Split
from mlpkit.data.load import load_dataset
from mlpkit.system.plain_json import read_object
from mlpkit.tasks import TASKS


def loaded(name: str) -> Dataset:
    """Return a dataset."""
    return load_dataset(config(f"dataset={name}").dataset)


@pytest.mark.parametrize("name", ["moons", "wine", "diabetes", "line"])
def test_baselines_equal_scikit_learn(name: str) -> None:
    dataset = loaded(name)
    task, split, test = TASKS[dataset.input_schema.task], dataset.splits["train"], dataset.splits["test"]
    x, y, rows, true = (values.numpy() for values in (split.inputs, split.targets, test.inputs, test.targets))
    constant = constant_outputs(task, split.targets, dataset.input_schema.width)
    linear = linear_outputs(task, split, test.inputs, dataset.input_schema.width)
    assert linear is not None
    scores = [scores_of_outputs(task, outputs, test.targets) for outputs in (constant, linear)]
    if task.probabilities is None:
        models = DummyRegressor(), make_pipeline(StandardScaler(), RidgeCV((0.01, 0.1, 1.0, 10.0, 100.0)))
        for model, found in zip(models, scores, strict=True):
            said = model.fit(x.astype(np.float64), y.astype(np.float64)).predict(rows.astype(np.float64))
            assert found["r2"] == pytest.approx(r2_score(true, said))
            assert found["mae"] == pytest.approx(mean_absolute_error(true, said))
        return
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    for model, found in zip((DummyClassifier(), logistic), scores, strict=True):
        assert found == {"accuracy": pytest.approx(accuracy_score(true, model.fit(x, y).predict(rows)))}
    probabilities = task.probabilities(linear)
    assert log_loss(true, probabilities) == pytest.approx(
        log_loss(true, logistic.predict_proba(rows)), rel=1e-4
    )
    shares = task.probabilities(constant[None])[0].double()
    counts = np.bincount(y)
    np.testing.assert_allclose(shares, (counts + 1) / (counts.sum() + len(counts)), rtol=1e-6)


def test_each_label_has_its_own_baseline() -> None:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(200, 3, generator=random)
    y = (x[:, :2] + 0.5 * torch.randn(200, 2, generator=random) > 0).float()
    outputs = linear_outputs(TASKS["multilabel"], Split(x, y), x[:50], 2)
    assert outputs is not None
    for label in range(2):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x, y[:, label])
        np.testing.assert_allclose(outputs[:, label], model.decision_function(x[:50]), atol=1e-3)


def test_a_large_table_has_no_linear_baseline() -> None:
    x = torch.zeros(1, 1).expand(5_000_001, 1)
    assert linear_outputs(TASKS["regression"], Split(x, x), x[:1], 1) is None


def test_classes_without_training_rows() -> None:
    """Such a class has the probability 0; of rows of one class there is no logistic regression."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(90, 3, generator=random)
    y = x.argmax(1)
    for known in ([0, 2], [1, 2]):
        rows = torch.isin(y, torch.tensor(known))
        outputs = linear_outputs(TASKS["multiclass"], Split(x[rows], y[rows]), x, 3)
        assert outputs is not None
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x[rows], y[rows])
        probabilities = outputs.softmax(1).numpy()
        np.testing.assert_allclose(probabilities[:, known], model.predict_proba(x), atol=1e-4)
    one = y == 1
    assert linear_outputs(TASKS["multiclass"], Split(x[one], y[one]), x, 3) is None
    labels = torch.stack((y == 0, y < 5), 1).float()
    assert linear_outputs(TASKS["multilabel"], Split(x, labels), x, 2) is None


def test_a_run_that_is_no_better_than_a_constant_is_told_so(tmp_path: Path) -> None:
    for epochs, is_poor in (("2", True), ("60", False)):
        folder = train(
            tmp_path,
            "dataset=line",
            "model=linear",
            f"trainer.epochs={epochs}",
            "run.plots=false",
            "optimizer.lr=0.1",
            "dataset.standardize=true",
        )
        summary = read_object(folder.summary)
        test = loaded("line").splits["test"].targets
        mean = loaded("line").splits["train"].targets.double().mean()
        assert summary["final"]["baseline"]["mae"] == pytest.approx(float((test - mean).abs().mean()))
        line = "warning: test r2 not better than predicting the mean for every row"
        assert (line in folder.log.read_text()) is is_poor
