"""The scores of rows that come in portions are those of all rows at once."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mlpkit.analysis.answers import answer
from mlpkit.analysis.evaluate import Evaluation, evaluate, evaluate_answers
from mlpkit.analysis.predict import Predictor
from mlpkit.config.loss import loss_for
from mlpkit.config.metric import with_metric
from mlpkit.data.dataset import Split
from mlpkit.data.input_schema import InputSchema
from mlpkit.losses.auto import Auto
from mlpkit.models.torch_network import Network

ROWS = 500
SCHEMAS = {
    "regression": InputSchema("regression", tuple("abc"), (3,), ("y", "z")),
    "binary": InputSchema("binary", tuple("abc"), (3,), ("y",), ("no", "yes")),
    "multiclass": InputSchema("multiclass", tuple("abc"), (3,), ("y",), ("one", "two", "three")),
    "multilabel": InputSchema("multilabel", tuple("abc"), (3,), ("y", "z")),
}


def draw(task: str) -> tuple[Predictor, Split]:
    """Return a network that was not trained, and rows with weights."""
    torch.manual_seed(0)
    schema = SCHEMAS[task]
    network = Network(nn.Sequential(nn.Linear(3, 20), nn.Tanh(), nn.Linear(20, schema.width)), None, None)
    metrics = with_metric((), "roc_auc") if task == "binary" else ()
    model = Predictor(network, schema, loss_for(Auto(name="auto"), task, "rows"), metrics=metrics)
    targets: Tensor = torch.randint(0, len(schema.classes) or 2, (ROWS,))
    if not schema.classes:
        targets = torch.randn(ROWS, 2) if task == "regression" else torch.randint(0, 2, (ROWS, 2)).float()
    return model, Split(torch.randn(ROWS, 3), targets, all_weights=torch.rand(ROWS) + 0.1)


def check(found: Evaluation, wanted: Evaluation) -> None:
    assert found.report == wanted.report and found.rows == wanted.rows == ROWS
    assert found.scores == pytest.approx(wanted.scores, rel=1e-6)
    for name, ends in wanted.intervals.items():
        assert found.intervals[name] == pytest.approx(ends, rel=1e-6)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("task", SCHEMAS)
def test_scores(task: str, weighted: bool) -> None:
    model, rows = draw(task)
    whole = evaluate(model, "test", rows, weighted)
    for size in (64, 333):
        ends = range(0, ROWS, size)
        portions = (replace(rows, rows=slice(start, min(start + size, ROWS))) for start in ends)
        check(evaluate_answers(model, "test", answer(model, portions), weighted), whole)


def test_features_are_not_kept_and_other_answers_are() -> None:
    model, rows = draw("binary")
    portions = [replace(rows, rows=slice(0, 10)), replace(rows, rows=torch.arange(10, ROWS))]
    found = answer(model, portions, plain=model, novelty=lambda inputs: inputs[:, 0])
    assert found.rows.inputs.shape == (ROWS, 0) and len(found.rows) == ROWS
    assert found.plain is not None and torch.equal(found.plain, found.outputs)
    assert found.novelty is not None and torch.equal(found.novelty, rows.inputs[:, 0])
    assert torch.equal(found.rows.targets, rows.targets)
    assert answer(model, portions).plain is None
