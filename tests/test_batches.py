"""Which rows make each step: all of them once, in an order that is a function of (seed, epoch)."""

import pytest
import torch
from engines import engine_of

from mlpkit.data.randomness import generator
from mlpkit.engines.batches import order_of, rows_of_steps, steps_per_epoch
from mlpkit.engines.manual import ManualGradients


@pytest.mark.parametrize(
    ("rows", "batch_size", "accumulate", "sizes"),
    [
        (10, 5, 1, [5, 5]),
        (10, 4, 1, [4, 4, 2]),
        (10, 3, 2, [6, 4]),
        (10, 1, 1, [1] * 10),
        (10, 10, 1, [10]),
        (10, 64, 4, [10]),
        (10, 10**9, 10**6, [10]),
        (1, 64, 1, [1]),
    ],
)
def test_every_row_once_in_steps_of_the_size(rows, batch_size, accumulate, sizes):
    steps = list(rows_of_steps(order_of(rows, seed=0, epoch=0), batch_size * accumulate))
    assert [len(step) for step in steps] == sizes
    assert sorted(torch.cat(steps).tolist()) == list(range(rows))
    assert steps_per_epoch(rows, batch_size, accumulate) == len(sizes)


def test_a_full_batch_is_the_split_in_its_own_order():
    engine = engine_of(ManualGradients, "dataset=moons", "trainer.batch_size=full")
    assert list(engine.rows_of_steps(3, 0)) == [slice(None)]
    assert list(engine.rows_of_steps(3, 1)) == []
    assert steps_per_epoch(10, "full") == 1


def order(seed, epoch, batch_size=7, accumulate=1):
    return torch.cat(list(rows_of_steps(order_of(100, seed, epoch), batch_size * accumulate))).tolist()


def test_order_is_a_permutation_of_its_own_generator():
    assert order(4, 2) == torch.randperm(100, generator=generator(4, "order", 2)).tolist()


def test_order_depends_on_seed_and_epoch_alone():
    orders = {(seed, epoch): order(seed, epoch) for seed in range(3) for epoch in range(3)}
    assert len({tuple(o) for o in orders.values()}) == 9
    torch.rand(10)  # the global generator moves on
    for (seed, epoch), before in orders.items():
        assert order(seed, epoch) == before
        assert order(seed, epoch, batch_size=16, accumulate=3) == before
