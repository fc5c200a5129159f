"""Each task's loss, decoding and direction, against torch, scipy and the definitions."""

import math

import numpy as np
import pytest
import torch
from scipy import special
from torch import nn

from mlpkit.data.input_schema import InputSchema
from mlpkit.tasks import BINARY, MULTICLASS, REGRESSION, TASKS

ROWS = 50


def draw(*shape, scale=3.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * scale


def labels(classes):
    return torch.randint(classes, (ROWS,), generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize(
    ("task", "outputs", "targets", "torch_loss"),
    [
        (REGRESSION, draw(ROWS, 1), draw(ROWS, 1).cos(), nn.MSELoss(reduction="none")),
        (REGRESSION, draw(ROWS, 3), draw(ROWS, 3).cos(), nn.MSELoss(reduction="none")),
        (BINARY, draw(ROWS, 1), labels(2), nn.BCEWithLogitsLoss(reduction="none")),
        (MULTICLASS, draw(ROWS, 4), labels(4), nn.CrossEntropyLoss(reduction="none")),
    ],
    ids=["regression", "regression-3", "binary", "multiclass"],
)
def test_loss_of_each_example_equals_torch(task, outputs, targets, torch_loss):
    encoded = task.encode(targets, outputs.dtype)
    losses, expected = task.loss(outputs, encoded), torch_loss(outputs, encoded)
    assert losses.shape == (ROWS,)
    torch.testing.assert_close(losses, expected.reshape(ROWS, -1).mean(1))
    trained = task.loss(outputs.clone().requires_grad_(), encoded)  # which may go another way
    torch.testing.assert_close(losses, trained.detach())
    mean = type(torch_loss)()(outputs, encoded)  # what a training loop of one's own would take
    torch.testing.assert_close(losses.mean(), mean)


def test_losses_are_their_formulas():
    logits, values = draw(ROWS, 1), draw(ROWS, 4)
    p, y = special.expit(logits.numpy())[:, 0], labels(2).numpy()
    expected = -y * np.log(p) - (1 - y) * np.log(1 - p)
    np.testing.assert_allclose(BINARY.loss(logits, BINARY.encode(labels(2), torch.float64)), expected)
    expected = -special.log_softmax(values.numpy(), axis=1)[range(ROWS), labels(4).numpy()]
    np.testing.assert_allclose(MULTICLASS.loss(values, labels(4)), expected)


@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0, 20.0, 80.0])
@pytest.mark.parametrize("task", [BINARY, MULTICLASS], ids=lambda task: task.name)
def test_float32_losses_are_as_exact_as_torchs(task, scale):
    random = torch.Generator().manual_seed(7)
    outputs = scale * torch.randn(20_000, 1 if task is BINARY else 10, generator=random)
    targets = task.encode(torch.arange(20_000) % (2 if task is BINARY else 10), torch.float32)
    torch_loss = (nn.BCEWithLogitsLoss if task is BINARY else nn.CrossEntropyLoss)(reduction="none")
    double = targets.double() if task is BINARY else targets
    exact = torch_loss(outputs.double(), double).view(-1)
    ours, theirs = (
        float((of.view(-1) - exact).abs().max())
        for of in (task.loss(outputs, targets), torch_loss(outputs, targets))
    )
    assert ours <= 1.5 * theirs + 6e-8  # half a unit in the last place of one


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
@pytest.mark.parametrize("rows", [161, 4001])
def test_binary_losses_are_exact_however_small(rows, dtype, bound):
    """Of equal accuracies the lower loss is better, so that small ones matter as large ones do."""
    logits = torch.linspace(-80, 80, rows, dtype=dtype)[:, None]
    for label in (0, 1):
        encoded = BINARY.encode(torch.full((rows,), label), dtype)
        exact = np.logaddexp(0, (1 - 2 * label) * logits.to(torch.float64).numpy()[:, 0])
        np.testing.assert_allclose(BINARY.loss(logits, encoded).double(), exact, rtol=bound)


@pytest.mark.parametrize("logit", [1000.0, -1000.0])
def test_losses_of_sure_answers_stay_finite(logit):
    outputs = torch.tensor([[logit], [logit]])
    losses = BINARY.loss(outputs, BINARY.encode(torch.tensor([0, 1]), torch.float32))
    assert sorted(losses.tolist()) == [0, 1000]
    both = torch.cat((outputs, -outputs), dim=1)
    assert sorted(MULTICLASS.loss(both, torch.tensor([0, 1])).tolist()) == [0, 2000]


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
    ],
)
def test_what_follows_from_the_task(name, width, monitor, higher):
    targets = ("a", "b") if name == "regression" else ("label",)
    classes = {"regression": (), "binary": ("no", "yes"), "multiclass": ("x", "y", "z")}[name]
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
