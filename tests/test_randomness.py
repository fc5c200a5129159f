"""Draws are functions of (seed, purpose, epoch, step), and the global generators stay as they were."""

import hashlib
import itertools

import numpy as np
import pytest
import running
import torch
from engines import model_of, trainer_of

from mlpkit.data.randomness import derived_seed, generator
from mlpkit.training.build import build


def test_the_seeds_stay_the_same_for_ever():
    """Another number here would change every run that anyone has written down."""
    assert derived_seed(0, "init") == 2058064558712539152
    assert derived_seed(7, "dropout/1", epoch=3, step=12) == 3113473206068228962
    digest = hashlib.blake2b(b"7/dropout/1/3/12", digest_size=8).digest()
    assert derived_seed(7, "dropout/1", 3, 12) == int.from_bytes(digest, "little") // 2


def test_seeds_differ_and_fit_a_generator():
    keys = itertools.product((0, 1, 2**63 - 1), ("init", "order", "dropout/0"), range(5), range(5))
    seeds = [derived_seed(*key) for key in keys]
    assert len(set(seeds)) == len(seeds) == 225
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_generators_repeat():
    def draw(*key):
        return torch.rand(5, generator=generator(*key)).tolist()

    assert draw(3, "order", 1, 2) == draw(3, "order", 1, 2)
    keys = [(3, "order", 1, 2), (4, "order", 1, 2), (3, "init", 1, 2), (3, "order", 2, 2), (3, "order", 1, 3)]
    assert len({tuple(draw(*key)) for key in keys}) == 5


def global_states():
    return torch.random.get_rng_state().tolist(), repr(np.random.get_state())


def train(config):
    """Run everything that draws: data, weights, order, dropout and augmentation; return the weights."""
    engine = build([config])
    trainer, (recorder,) = trainer_of(engine)
    trainer.fit()
    assert recorder.summary["status"] == "done"
    return model_of(engine)


RUNS = [
    ("dataset=sum", "model=linear", "dataset.noise=0.1", "init=normal"),
    ("dataset=line", "model=mlp", "dataset.x=normal", "init=orthogonal", "dataset.standardize=true"),
    ("dataset=moons", "model=mlp", "model.dropout=0.5", "model.norm=layer", "init=kaiming_uniform"),
    ("dataset=digits", "model=mlp", "model.dropout=0.2", "dataset.augment.rotation=10"),
]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("engine", ["auto", "autograd"])
@pytest.mark.parametrize("overrides", RUNS, ids=lambda overrides: overrides[0])
def test_a_run_neither_reads_nor_moves_the_global_generators(overrides, engine):
    config = running.config(
        *overrides, f"trainer.engine={engine}", "trainer.batch_size=100", "trainer.epochs=2"
    )
    weights = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        before = global_states()
        weights.append(train(config))
        assert global_states() == before
    first, second = weights
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_seed_changes_the_run():
    overrides = (*RUNS[2], "trainer.batch_size=100", "trainer.epochs=2")
    first, second = (train(running.config(*overrides, f"seed={seed}")) for seed in (0, 1))
    assert not torch.equal(first["layers.0.weight"], second["layers.0.weight"])
