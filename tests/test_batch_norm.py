"""Batch norm by hand: gradients, running statistics and scores are those of torch's BatchNorm1d."""

import pytest
import torch
from engines import config_of
from torch import nn

from mlpkit.engines.manual_layers import unsupported_layer
from mlpkit.training.build import build

BASE = (
    *("dataset=digits", "model.hidden=[10,8]", "model.norm=batch", "trainer.batch_size=300"),
    *("trainer.precision=float64", "optimizer=sgd", "optimizer.lr=0.1"),
)
OPTIONS = [
    (),
    ("model.dropout=0.3", "model.activation=gelu"),
    ("trainer.accumulate=2", "trainer.ema=0.9", "model.activation=tanh"),
]


def trained(engine, seeds, *options):
    """Return an engine after two epochs of a few steps."""
    configs = [config_of(*BASE, f"trainer.engine={engine}", *options, f"seed={seed}") for seed in seeds]
    found, step = build(configs), 0
    for epoch in range(2):
        for rows in found.rows_of_steps(epoch, 0):
            assert found.step(rows, [0.1] * len(found.blocks), epoch, step, measure=True) == {}
            step += 1
        found.collect()
    return found


@pytest.mark.sampled(3)
@pytest.mark.parametrize("seeds", [[0], [0, 1]], ids=["one run", "two runs"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equals_autograd(options, seeds):
    by_hand, autograd = (trained(engine, seeds, *options) for engine in ("stacked", "autograd"))
    assert (by_hand.name, autograd.name) == ("stacked", "autograd")
    for run in range(len(seeds)):
        kinds = by_hand.state(run), autograd.state(run)
        for kind in ("model", "raw"):
            torch.testing.assert_close(kinds[0][kind], kinds[1][kind], atol=1e-10, rtol=0)
        assert kinds[0]["model"]["layers.1.running_var"].std() > 0.01
    outputs = (engine.outputs("val").detach() for engine in (by_hand, autograd))
    torch.testing.assert_close(*outputs, atol=1e-10, rtol=0)
    torch.testing.assert_close(by_hand.norms, autograd.norms, atol=1e-10, rtol=0)


def test_a_run_is_that_of_a_run_alone():
    together, alone = trained("stacked", [3, 1]), trained("stacked", [1])
    torch.testing.assert_close(together.state(1)["model"], alone.state(0)["model"], atol=1e-12, rtol=0)


UNUSUAL = [
    [nn.Linear(2, 3), nn.ReLU(), nn.BatchNorm1d(3), nn.Linear(3, 1)],
    [nn.Linear(2, 3), nn.BatchNorm1d(3)],
    [nn.Linear(2, 3), nn.BatchNorm1d(3, affine=False), nn.ReLU(), nn.Linear(3, 1)],
    [nn.Linear(2, 3), nn.BatchNorm1d(3, momentum=None), nn.ReLU(), nn.Linear(3, 1)],
    [nn.Linear(2, 3), nn.BatchNorm1d(3, track_running_stats=False), nn.ReLU(), nn.Linear(3, 1)],
]


@pytest.mark.parametrize("layers", UNUSUAL, ids=str)
def test_an_unusual_one_goes_to_autograd(layers):
    assert unsupported_layer(nn.Sequential(*layers)) == "BatchNorm1d"


def test_a_gradient_that_is_not_finite_is_found():
    engine = trained("stacked", [0])
    engine.parameters.views(engine.parameters.values)["layers.3.weight"].fill_(1e308)
    rows = next(engine.rows_of_steps(2, 0))
    assert 0 in engine.step(rows, [0.1], 2, 99, measure=True)
