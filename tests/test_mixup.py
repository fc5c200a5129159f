"""Mixup: each row is mixed with another of its batch, and so is its target."""

import numpy as np
import pytest
import torch
from engines import config_of
from torch.nn import functional as F

from mlpkit.config.dataset import Augment
from mlpkit.data.augment import Augmentation, Draws
from mlpkit.data.randomness import generator
from mlpkit.errors import ConfigError
from mlpkit.training.build import build

BASE = (
    *("dataset=digits", "model=mlp", "model.hidden=[7]", "trainer.precision=float64"),
    *("optimizer=sgd", "optimizer.lr=0.1", "dataset.augment.mixup=0.4", "dataset.augment.translation=1"),
)
OPTIONS = [
    ("trainer.batch_size=50", "trainer.accumulate=2"),
    ("trainer.batch_size=full",),
    (
        "trainer.batch_size=64",
        "trainer.class_weight=balanced",
        "loss=cross_entropy",
        "loss.label_smoothing=0.1",
    ),
]


def engine_of(engine, seeds, *options):
    return build([config_of(*BASE, f"trainer.engine={engine}", *options, f"seed={seed}") for seed in seeds])


@pytest.mark.sampled(3)
@pytest.mark.parametrize("seeds", [[0], [0, 1]], ids=["one run", "two runs"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_by_hand_equals_autograd(options, seeds):
    engines = [engine_of(engine, seeds, *options) for engine in ("stacked", "autograd")]
    for engine in engines:
        for step, rows in enumerate(list(engine.rows_of_steps(0, 0))[:3]):
            assert engine.step(rows, [0.1] * len(engine.blocks), 0, step, measure=True) == {}
    weights, others = (engine.parameters.values.detach() for engine in engines)
    torch.testing.assert_close(weights, others, atol=1e-12, rtol=0)


def test_equals_the_formula():
    engine = engine_of("stacked", [3], "trainer.batch_size=50")
    network, train = engine.experiments[0].network, engine.data.splits["train"]
    rows = next(engine.rows_of_steps(0, 0))
    images, draws = train.inputs[rows], Draws(3, 0, generator(3, "augment", 0, 0))
    augmentation = Augmentation(Augment(mixup=0.4, translation=1.0), (8, 8))
    inputs = network.scaling(augmentation(images, draws))
    partners, shares = augmentation.mixing(50, draws, inputs)
    targets = F.one_hot(train.scaled[rows], 10).double()
    mixed, soft = (
        shares[:, None] * values + (1 - shares[:, None]) * values[partners] for values in (inputs, targets)
    )
    loss = F.cross_entropy(network.layers(mixed), soft)
    expected = torch.autograd.grad(loss, list(network.parameters()))
    engine.step(rows, [0.1], 0, 0, measure=True)
    torch.testing.assert_close(engine.gradients, torch.cat([each.flatten() for each in expected]))


def test_shares_are_those_of_the_beta_distribution():
    augmentation, like = Augmentation(Augment(mixup=0.4), (8, 8)), torch.zeros(1, dtype=torch.float64)
    partners, shares = augmentation.mixing(20_000, Draws(0, 0, generator(0, "augment")), like)
    assert sorted(partners.tolist()) == list(range(20_000))
    assert shares.min() >= 0.5
    drawn = torch.from_numpy(np.random.default_rng(0).beta(0.4, 0.4, 20_000))
    larger = torch.maximum(drawn, 1 - drawn)
    quantiles = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64)
    torch.testing.assert_close(shares.quantile(quantiles), larger.quantile(quantiles), atol=0.02, rtol=0)


def test_a_loss_that_cannot_mix_targets_is_refused():
    with pytest.raises(ConfigError) as error:
        engine_of("auto", [0], "loss=focal")
    assert str(error.value) == (
        "dataset.augment.mixup=0.4: the targets of loss=focal cannot be mixed; set dataset.augment.mixup=0, "
        "or choose the loss of the task (loss=auto)"
    )


def test_a_mixed_step_is_not_explained(refused):
    said = refused(
        "explain",
        "dataset=digits",
        "model=mlp",
        "--batch",
        "dataset.augment.mixup=0.4",
        "model.hidden=[2]",
        "trainer.batch_size=2",
        "--output",
        "a.html",
        code=2,
    )
    assert said == "dataset.augment.mixup=0.4: mixed rows are not shown; set dataset.augment.mixup=0"


def test_a_share_too_small_to_draw_is_refused(refused):
    said = refused("train", "dataset=digits", "dataset.augment.mixup=0.001", code=2)
    assert said == "dataset.augment.mixup: 0.001: must be 0 or at least 0.01"
