"""Scores from sums are the numbers that scikit-learn gets from all rows at once."""

import pytest
import torch
from running import train
from sklearn import metrics as sk

from mlpkit import metrics
from mlpkit.analysis.evaluate import evaluate
from mlpkit.analysis.predict import load_predictor
from mlpkit.data.load import load_dataset
from mlpkit.system.plain_json import read_object


def regression(predictions, targets, pieces=1):
    """Score in pieces, as an epoch of batches does; the loss is the squared error."""
    sums = torch.zeros(5, dtype=torch.float64)
    parts = (values.chunk(pieces) for values in (predictions, targets, metrics.regression_truth(targets)))
    for part, exact, truth in zip(*parts, strict=True):
        losses = (part - exact).square().mean(1)
        found = metrics.add_up(losses, metrics.regression_statistics(part, truth))
        sums += torch.tensor(found, dtype=torch.float64)
    return metrics.regression_scores(sums.tolist(), len(targets))


def sklearn_regression(predictions, targets):
    return {
        "loss": sk.mean_squared_error(targets, predictions),
        "r2": sk.r2_score(targets, predictions),
        "mae": sk.mean_absolute_error(targets, predictions),
        "rmse": sk.root_mean_squared_error(targets, predictions),
    }


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize(
    ("mean", "spread", "error"),
    [(0, 1, 0.3), (5, 2, 2), (-1000, 3, 0.1), (0.001, 0.0001, 0.001), (0, 1e6, 1e5), (0, 1, 0)],
)
def test_regression_equals_sklearn(mean, spread, error, pieces):
    random = torch.Generator().manual_seed(3)
    targets = torch.randn(1003, 1, generator=random) * spread + mean
    predictions = targets + torch.randn(1003, 1, generator=random) * error
    expected = sklearn_regression(predictions.double().numpy(), targets.double().numpy())
    scores = regression(predictions, targets, pieces)
    assert scores == pytest.approx(expected, rel=1e-6)  # errors and losses are float32


def test_several_targets_are_averaged():
    random = torch.Generator().manual_seed(3)
    targets, predictions = torch.randn(2, 100, 3, generator=random)
    scores = regression(predictions, targets, pieces=3)
    assert scores["loss"] == pytest.approx(sk.mean_squared_error(targets, predictions))
    assert scores["mae"] == pytest.approx(sk.mean_absolute_error(targets, predictions))
    assert scores["rmse"] ** 2 == pytest.approx(scores["loss"])
    together = sk.r2_score(targets.double(), predictions.double(), multioutput="variance_weighted")
    assert scores["r2"] == pytest.approx(together, rel=1e-12)


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize(("mean", "spread"), [(1e6, 4), (-1e7, 4), (2e6, 0.15), (1e30, 1e24)])
def test_r2_of_targets_far_from_zero_equals_sklearn(mean, spread, pieces):
    random = torch.Generator().manual_seed(3)
    noise = torch.randn(2, 1000, 1, generator=random, dtype=torch.float64) * spread
    targets = (noise[0] + mean).float()
    predictions = (targets + noise[1] / 2).float()
    expected = sk.r2_score(targets.double().numpy(), predictions.double().numpy())
    assert regression(predictions, targets, pieces)["r2"] == pytest.approx(expected, rel=1e-9)


def test_r2_of_some_rows_of_a_split_equals_sklearn():
    """The mean that is subtracted is then not theirs."""
    random = torch.Generator().manual_seed(3)
    targets, predictions = torch.randn(2, 100, 1, generator=random) + torch.tensor(2e6)
    truth, few = metrics.regression_truth(targets.sort(0).values), slice(70, 100)
    rows = targets.sort(0).values[few]
    sums = metrics.add_up(rows[:, 0], metrics.regression_statistics(predictions[few], truth[few]))
    expected = sk.r2_score(rows.double(), predictions[few].double())
    assert metrics.regression_scores(sums, 30)["r2"] == pytest.approx(expected, rel=1e-9)


FAR = (
    "dataset=line", "model=linear", "dataset.n=1000", "dataset.x=uniform", "dataset.intercept=2e6",
    "dataset.slope=0.05", "dataset.noise=0.05", "dataset.standardize=true", "optimizer.lr=0.1",
    "trainer.epochs=200", "run.plots=false", "run.tensorboard=false",
)  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(
    "more", [(), ("trainer.engine=autograd",), ("trainer.batch_size=64", "trainer.epochs=12")]
)
def test_a_run_scores_targets_far_from_zero_as_sklearn_does(tmp_path, more):
    kept = [line for line in FAR if line.partition("=")[0] not in {text.partition("=")[0] for text in more}]
    folder = train(tmp_path, *kept, *more)
    predictor, stored = load_predictor(folder.last)
    scores = read_object(folder.summary)
    for name, rows in load_dataset(stored.config.dataset).splits.items():
        expected = sklearn_regression(predictor.outputs(rows.inputs).double(), rows.targets.double())
        found = scores[name]
        assert expected["r2"] > 0.5  # and it was 0 once
        assert [found[k] for k in ("r2", "mae", "rmse")] == pytest.approx(
            [expected[k] for k in ("r2", "mae", "rmse")], rel=1e-6
        )
        evaluated = evaluate(predictor, name, rows).scores
        assert evaluated == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize("constant", [0.0, 2.0, 0.1, -1e6])
@pytest.mark.parametrize("error", [0.0, 0.5])
def test_r2_of_equal_targets_equals_sklearn(constant, error):
    targets = torch.full((9, 1), constant)
    predictions = targets + error
    expected = sk.r2_score(targets.numpy(), predictions.numpy())
    assert regression(predictions, targets)["r2"] == expected == (0.0 if error else 1.0)


def test_r2_can_be_negative():
    targets = torch.tensor([[1.0], [2.0], [3.0]])
    assert regression(-targets, targets)["r2"] == pytest.approx(1 - (4 + 16 + 36) / 2)


def test_classification_counts_rows():
    predicted, targets = torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 2])
    (right,) = metrics.classification_statistics(predicted, targets)
    assert right.tolist() == [1, 1, 0, 1]
    sums = metrics.add_up(torch.tensor([0.5, 0.25, 3.0, 0.25]), (right,))
    assert sums == [4.0, 3.0]
    scores = metrics.classification_scores(sums, 4)
    assert scores == {"loss": 1.0, "accuracy": sk.accuracy_score(targets, predicted)}


def test_a_ragged_last_batch_counts_by_its_rows():
    """Not the mean of the batches' means, which would be 2.5."""
    batches = (torch.tensor([1.0, 1.0, 1.0]), torch.tensor([4.0]))
    parts = [metrics.add_up(losses, (torch.zeros_like(losses),)) for losses in batches]
    sums = [sum(values) for values in zip(*parts, strict=True)]
    assert metrics.classification_scores(sums, 4)["loss"] == 7 / 4


def test_sums_are_added_in_float64():
    """In float32 the second million of ones would be lost."""
    losses = torch.cat((torch.tensor([2.0**24]), torch.ones(1000)))
    assert metrics.add_up(losses, ()) == [2.0**24 + 1000]
