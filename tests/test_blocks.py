"""A row's prediction is the same to the bit, whichever rows are predicted with it."""

from pathlib import Path

import pytest
import torch
from running import train
from torch import nn

from mlpkit.analysis.blocks import BLOCK, most_rows, widest_layer
from mlpkit.analysis.predict import Ensemble, Predictor, load_predictor
from mlpkit.analysis.predictions import Predictions
from mlpkit.config.registry import choices
from mlpkit.data.input_schema import InputSchema
from mlpkit.models.torch_inputs import PeriodicEmbedding
from mlpkit.models.torch_layers import Function
from mlpkit.models.torch_network import Network
from mlpkit.models.torch_own import OwnModule

TASKS = {
    "binary": InputSchema("binary", tuple("abcde"), (5,), ("y",), ("no", "yes")),
    "regression": InputSchema("regression", tuple("abcde"), (5,), ("y",)),
    "multiclass": InputSchema("multiclass", tuple("abcde"), (5,), ("y",), ("one", "two", "three")),
    "multilabel": InputSchema("multilabel", tuple("abcde"), (5,), ("y", "z")),
}


def predictor(task: str, *hidden: nn.Module) -> Predictor:
    torch.manual_seed(0)
    schema = TASKS[task]
    width = next((layer.out_features for layer in hidden if isinstance(layer, nn.Linear)), 5)
    layers = nn.Sequential(*hidden, nn.Linear(width, schema.width))
    return Predictor(Network(layers, None, None), schema, loss=None)  # it is not asked for


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "hidden",
    [
        (),
        (nn.Linear(5, 9), nn.Softplus()),
        (nn.Linear(5, 33), nn.Tanh()),
        (nn.Linear(5, 64), nn.BatchNorm1d(64), nn.GELU()),
        (nn.Linear(5, 300), nn.LayerNorm(300), nn.SiLU()),
    ],
)
def test_alone_in_a_table_and_in_any_order(task: str, hidden: tuple[nn.Module, ...]) -> None:
    model = predictor(task, *hidden)
    check(model, torch.randn(333, 5))


@pytest.mark.parametrize("name", choices("activation"))
def test_with_every_activation(name: str) -> None:
    activation = choices("activation")[name].model_validate({"name": name})
    check(predictor("regression", nn.Linear(5, 70), Function(activation)), torch.randn(1500, 5))


@pytest.mark.parametrize(
    ("layer", "rows"),
    [
        (nn.Linear(5, 64), 1024),
        (nn.Linear(5, 9000), BLOCK),
        (PeriodicEmbedding([0], 4, 4, 0.1), BLOCK),  # products of their own
        (OwnModule(nn.Linear(5, 5)), BLOCK),
    ],
)
def test_rows_at_once(layer: nn.Module, rows: int) -> None:
    widest = widest_layer(predictor("binary", layer).network, 5)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert most_rows(widest) == rows
        torch.set_num_threads(1)
        assert most_rows(widest) == (BLOCK if rows == BLOCK else 4 * rows)
    finally:
        torch.set_num_threads(threads)


def test_so_is_that_of_an_ensemble(tmp_path: Path) -> None:
    options = ("dataset=moons", "model=mlp", "trainer.epochs=1", "run.plots=false")
    runs = [train(tmp_path, *options, f"seed={seed}") for seed in range(3)]
    model = Ensemble([load_predictor(run.last)[0] for run in runs])
    check(model, torch.randn(200, 2))


def check(model: Predictor, rows: torch.Tensor) -> None:
    whole = model.predict(rows)
    for start, stop in ((0, 1), (7, 8), (5, 69), (1, 300), (40, 42), (len(rows) - BLOCK - 1, len(rows))):
        check_same(model.predict(rows[start:stop]), whole.rows(start, stop))
    order = torch.randperm(len(rows))
    shuffled = model.predict(rows[order])
    assert torch.equal(shuffled.values, whole.values[order])


def check_same(found: Predictions, wanted: Predictions) -> None:
    assert torch.equal(found.values, wanted.values)
    if wanted.probabilities is not None:
        assert torch.equal(found.probabilities, wanted.probabilities)
