"""A run that several processes train together equals that of one: engines in threads, joined by Gloo."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar, cast

import pytest
import torch
from conftest import Refused
from engines import KINDS, Kind, collected, engine_of, model_of
from numpy.testing import assert_allclose
from torch import Tensor
from torch.distributed import HashStore  # type: ignore[attr-defined]

from mlpkit.engines.batches import Share
from mlpkit.engines.engine import Engine
from mlpkit.engines.processes import Processes
from mlpkit.engines.shared import SharedEngine

MOONS = ("dataset=moons", "model=mlp", "model.hidden=[8]", "dataset.n=100", "seed=3")
CASES = {
    "full": ("trainer=full_batch",),
    "ragged": ("trainer=mini_batch", "trainer.batch_size=7"),
    "fewer rows than processes": ("trainer=mini_batch", "trainer.batch_size=2"),
    "accumulate": ("trainer=mini_batch", "trainer.batch_size=5", "trainer.accumulate=2"),
    "dropout": ("trainer=mini_batch", "trainer.batch_size=7", "model.dropout=0.4", "trainer.accumulate=2"),
    "weights": ("trainer=mini_batch", "trainer.batch_size=8", "trainer.class_weight={upper: 1, lower: 4}"),
    "ema": ("trainer=full_batch", "trainer.ema=0.9", "trainer.clip_norm=0.1"),
}
EPOCHS = 2
SMALL, TWO = ("dataset=moons", "model=mlp"), "trainer.processes=2"
Result = TypeVar("Result")
Trained = tuple[dict[str, Tensor], list[dict[str, Any]], Tensor]  # weights, scores, the last norm


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 7, 9])
def test_shares_are_the_rows(rows: int) -> None:
    parts = [Share(rank, 3).of(rows) for rank in range(3)]
    assert [row for part in parts for row in range(rows)[part]] == list(range(rows))
    sizes = [part.stop - part.start for part in parts]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] - sizes[-1] <= 1


@pytest.mark.sampled(9)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_engines_take_the_steps_of_one(kind: Kind, case: str) -> None:
    settings = (*MOONS, *CASES[case])
    alone = trained(engine_of(kind, *settings))
    for shared in trained_by(3, kind, *settings):
        assert_close(shared, alone)


@pytest.mark.parametrize("kind", KINDS)
def test_changed_images_are_those_of_the_whole_batch(kind: Kind) -> None:
    settings = (
        "dataset=digits", "model=logistic", "trainer=mini_batch", "trainer.batch_size=400",
        "dataset.augment.rotation=10", "dataset.augment.elastic=1", "dataset.augment.cutout=2",
        "dataset.augment.horizontal_flip=0.5", "dataset.augment.brightness=0.2",
    )  # fmt: skip
    alone = trained(engine_of(kind, *settings))
    for shared in trained_by(2, kind, *settings):
        assert_close(shared, alone)


def test_all_processes_hear_of_a_failure_and_of_a_signal() -> None:
    def fail(engine: SharedEngine, rank: int) -> tuple[dict[int, str], int | None]:
        if rank == 1:
            engine.processes.signal_here = lambda: 15
            engine.data.splits["train"].inputs[30:] = math.inf  # which are rows of this process
        rows = next(engine.rows_of_steps(0, 0))
        return engine.step(rows, [0.1], 0, 0, measure=False), engine.processes.signal

    for failures, signal in each(2, fail, KINDS[1], *MOONS, "trainer=full_batch"):
        assert list(failures) == [0] and "not finite" in failures[0]
        assert signal == 15


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            (*SMALL, "model.norm=batch", TWO),
            "trainer.processes=2: batch norm takes the mean of a whole batch",
        ),
        (
            ("dataset=digits", "model=mlp", "dataset.augment.mixup=0.2", "trainer=mini_batch", TWO),
            "trainer.processes=2: dataset.augment.mixup mixes rows of different processes",
        ),
        (
            (*SMALL, "scheduler=cosine", "scheduler.over=time", "trainer.time_limit=5", TWO),
            "trainer.processes=2: scheduler.over=time goes by a clock",
        ),
        ((*SMALL, "-m", "seed=1,2", TWO), "trainer.processes=2: is for one run, and a sweep trains many"),
        ((*SMALL, "trainer.processes=1000"), "trainer.processes=1000: this machine has "),
    ],
)
def test_what_cannot_be_shared_is_refused(settings: tuple[str, ...], said: str, refused: Refused) -> None:
    assert refused("train", *settings, code=2).startswith(said)


def each(size: int, act: Callable[[SharedEngine, int], Result], kind: Kind, *settings: str) -> list[Result]:
    """Return what a function returns for the engine and the number of each of some processes."""
    store = HashStore()

    def run(rank: int) -> Result:
        processes = Processes(Share(rank, size), store)
        make: Any = partial(SharedEngine, processes=processes)
        engine = cast(SharedEngine, engine_of(kind, *settings, engine=make))
        processes.connect("cpu")
        return act(engine, rank)

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(run, range(size)))


def trained_by(size: int, kind: Kind, *settings: str) -> list[Trained]:
    return each(size, lambda engine, rank: trained(engine), kind, *settings)


def trained(engine: Engine) -> Trained:
    """Train two epochs; return the weights, the scores and the norm of the last gradient."""
    step, scores = 0, list[dict[str, Any]]()
    for epoch in range(EPOCHS):
        for rows in engine.rows_of_steps(epoch, 0):
            assert engine.step(rows, [0.05], epoch, step, measure=True) == {}
            step += 1
        sums, _ = engine.agree({"val": engine.evaluate("val")}, 0.0)
        scores += [collected(engine), engine.scores(sums["val"], "val")]
    return model_of(engine), scores, engine.norms.clone()


def assert_close(shared: Trained, alone: Trained) -> None:
    for name, weights in alone[0].items():
        torch.testing.assert_close(shared[0][name], weights, rtol=1e-4, atol=1e-6)
    for now, then in zip(shared[1], alone[1], strict=True):
        assert now.keys() == then.keys()
        for name in then:
            assert_allclose(now[name], then[name], rtol=1e-4)
    torch.testing.assert_close(shared[2], alone[2], rtol=1e-3, atol=1e-6)
