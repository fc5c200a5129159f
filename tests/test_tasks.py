"""Each task's decoding and direction, against scipy and the definitions."""

import math

import numpy as np
import pytest
import torch
from scipy import special

from mlpkit.data.input_schema import InputSchema
from mlpkit.tasks import BINARY, MULTICLASS, REGRESSION, TASKS

ROWS = 50


def draw(*shape, scale=3.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * scale


def labels(classes):
    return torch.randint(classes, (ROWS,), generator=torch.Generator().manual_seed(6))


def test_binary_probabilities_and_labels():
    logits = torch.tensor([[-2.0], [0.0], [1e-6], [30.0], [-30.0]], dtype=torch.float64)
    probabilities = BINARY.probabilities(logits)
    expected = np.concatenate((special.expit(-logits.numpy()), special.expit(logits.numpy())), axis=1)
    np.testing.assert_allclose(probabilities, expected, atol=1e-15)
    assert BINARY.decode(logits).tolist() == [0, 0, 1, 1, 0]


def test_multiclass_probabilities_and_labels():
    outputs = draw(ROWS, 4)
    probabilities = MULTICLASS.probabilities(outputs)
    np.testing.assert_allclose(probabilities, special.softmax(outputs.numpy(), axis=1))
    assert MULTICLASS.decode(outputs).tolist() == probabilities.argmax(1).tolist()


def test_regression_predicts_its_outputs():
    outputs = draw(ROWS, 2)
    assert REGRESSION.probabilities is None
    assert torch.equal(REGRESSION.decode(outputs), outputs)


@pytest.mark.parametrize("task", [BINARY, MULTICLASS], ids=lambda task: task.name)
def test_a_right_label_is_what_decode_says(task):
    outputs, targets = draw(ROWS, 1 if task is BINARY else 3), labels(2 if task is BINARY else 3)
    (right,) = task.statistics(outputs, task.truth(task.encode(targets, outputs.dtype)))
    assert right.flatten().tolist() == (task.decode(outputs) == targets).tolist()


@pytest.mark.parametrize(
    ("name", "width", "monitor", "higher"),
    [
        ("regression", 2, "loss", False),
        ("binary", 1, "accuracy", True),
        ("multiclass", 3, "accuracy", True),
        ("multilabel", 2, "accuracy", True),
    ],
)
def test_what_follows_from_the_task(name, width, monitor, higher):
    classes = {"binary": ("no", "yes"), "multiclass": ("x", "y", "z")}.get(name, ())
    targets = ("label",) if classes else ("a", "b")
    task = TASKS[name]
    assert task.name == name
    assert InputSchema(name, ("f",), (1,), targets, classes).width == width
    assert (task.monitor, task.higher_is_better) == (monitor, higher)


@pytest.mark.parametrize(
    ("value", "best", "min_delta", "improves"),
    [
        (0.5, None, 0.0, True),
        (math.nan, None, 0.0, False),
        (math.nan, 0.5, 0.0, False),
        (0.6, 0.5, 0.0, True),
        (0.5, 0.5, 0.0, False),
        (0.4, 0.5, 0.0, False),
        (0.75, 0.5, 0.25, False),
        (0.76, 0.5, 0.25, True),
        (0.6, -math.inf, 0.0, True),
    ],
)
def test_improves(value, best, min_delta, improves):
    """Values of a score to raise; of one to lower, the same with the sign changed."""
    assert BINARY.improves(value, best, min_delta) is improves
    assert REGRESSION.improves(-value, None if best is None else -best, min_delta) is improves
