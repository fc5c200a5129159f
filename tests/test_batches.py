"""Which rows make each step: all of them once in a pass, in an order that is a function of (seed, pass)."""

import json
from itertools import islice, pairwise
from pathlib import Path

import pytest
import torch
from conftest import Refused
from engines import engine_of, trainer_of
from running import config, content, train

from mlpkit.cli.main import run as command
from mlpkit.config.run import TrainerConfig
from mlpkit.data.randomness import generator
from mlpkit.engines.batches import Steps, order_of
from mlpkit.engines.manual import ManualGradients

MOONS = ("dataset=moons", "dataset.n=110", "model.hidden=[8]", "trainer.batch_size=32")  # 66 train


def steps_of(rows, batch_size, accumulate=1, steps_per_epoch=None):
    options = {"batch_size": batch_size, "accumulate": accumulate, "steps_per_epoch": steps_per_epoch}
    return Steps.of(TrainerConfig(**options), rows)


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
    steps = steps_of(rows, batch_size, accumulate)
    assert steps.per_epoch == steps.per_pass == len(sizes)
    for epoch in (0, 3):
        assert list(steps.parts(epoch, 0, len(sizes))) == [(epoch, slice(0, rows))]
        assert [steps.rows_in(epoch, count) for count in range(len(sizes) + 1)] == [
            sum(sizes[:count]) for count in range(len(sizes) + 1)
        ]
    assert steps.rows_until(2 * len(sizes) + 1) == 2 * rows + sizes[0]


@pytest.mark.parametrize(("rows", "used"), [(10, 8), (8, 8), (3, 3)])
def test_the_last_rows_of_a_pass_can_be_left_out(rows, used):
    """Others in each pass, since each has an order of its own; a single step may be smaller."""
    steps = Steps.of(TrainerConfig(batch_size=4, drop_last=True), rows)
    assert steps.rows_in(3, steps.per_pass) == used == steps.most_rows
    assert steps.rows_until(2 * steps.per_pass) == 2 * used
    options = ("trainer.batch_size=32", "trainer.drop_last=true", "dataset.n=110")
    engine = engine_of(ManualGradients, *MOONS[:1], *options)
    assert [len(part) for part in engine.rows_of_steps(0, 0)] == [32, 32]


def test_a_full_batch_is_the_split_in_its_own_order():
    engine = engine_of(ManualGradients, "dataset=moons", "trainer.batch_size=full")
    assert list(engine.rows_of_steps(3, 0)) == [slice(None)]
    assert list(engine.rows_of_steps(3, 1)) == []
    assert steps_of(10, "full").per_epoch == 1


def test_order_is_a_permutation_of_its_own_generator():
    assert torch.equal(order_of(100, 4, 2), torch.randperm(100, generator=generator(4, "order", 2)))


def test_order_depends_on_seed_and_pass_alone():
    orders = {(seed, number): order_of(100, seed, number) for seed in range(3) for number in range(3)}
    assert len({tuple(order.tolist()) for order in orders.values()}) == 9
    torch.rand(10)  # the global generator moves on
    for (seed, number), before in orders.items():
        assert torch.equal(order_of(100, seed, number), before)


# --------------------------------------------------------------------------- trainer.steps_per_epoch


@pytest.mark.parametrize("per_epoch", [1, 2, 4, 7])
def test_passes_go_on_across_epochs(per_epoch):
    """The steps are those of whole passes one after the other, wherever epochs end."""
    passes = engine_of(ManualGradients, *MOONS, "trainer.accumulate=1")
    engine = engine_of(ManualGradients, *MOONS, f"trainer.steps_per_epoch={per_epoch}")
    assert engine.steps.per_pass == 3
    wanted = [rows for number in range(5) for rows in passes.rows_of_steps(number, 0)]
    found = [rows for epoch in range(14 // per_epoch) for rows in engine.rows_of_steps(epoch, 0)]
    assert [rows.tolist() for rows in found] == [rows.tolist() for rows in wanted[: len(found)]]
    rest = list(engine.rows_of_steps(1, per_epoch - 1))
    assert rest[0].tolist() == wanted[2 * per_epoch - 1].tolist()
    assert engine.steps.rows_until(per_epoch) == sum(map(len, wanted[:per_epoch]))


def test_auto_is_a_quarter_of_a_pass_and_at_least_twenty_steps():
    assert [steps_of(rows, 10, 1, "auto").per_epoch for rows in (5, 1_000, 2_000)] == [20, 25, 50]


@pytest.mark.parametrize(("batches", "seeds"), [(1, [0]), (2, [0]), (1, [0, 1])])
def test_the_training_scores_are_those_of_the_rows_of_the_epoch(batches, seeds, monkeypatch):
    """Computed here from the outputs before each update: also in two batches a step, and of two runs."""
    size = f"trainer.batch_size={32 // batches}", f"trainer.accumulate={batches}"
    options = (*MOONS[:-1], *size, "trainer.steps_per_epoch=2", "trainer.epochs=3", "run.plots=false")
    engine = engine_of(ManualGradients, configs=[config(*options, f"seed={seed}") for seed in seeds])
    seen, add = [], engine.epoch_outputs.add
    monkeypatch.setattr(
        engine.epoch_outputs, "add", lambda rows, out: (seen.append((rows, out.clone())), add(rows, out))
    )
    trainer, recorders = trainer_of(engine)
    steps, targets = engine.steps, engine.data.splits["train"].scaled.view(-1)
    trainer.fit()
    rows, outputs = (torch.cat(parts, -1).view(len(seeds), -1) for parts in zip(*seen, strict=True))
    right = ((outputs > 0) == (targets[rows] > 0.5)).double()
    ends = [steps.rows_until(2 * epoch) for epoch in range(4)]
    assert ends == [0, 32 + 32, 64 + 2 + 32, 98 + 32 + 2]
    for run, recorder in enumerate(recorders):
        assert [report.rows for report in recorder.reports] == ends[1:]
        means = [float(right[run, start:end].mean()) for start, end in pairwise(ends)]
        assert recorder.values("train", "accuracy") == pytest.approx(means)


@pytest.mark.long
def test_a_run_is_evaluated_stopped_and_resumed_by_steps(tmp_path: Path) -> None:
    """From every checkpoint, before, at and behind the end of a pass, to the bit."""
    often = ("trainer.checkpoint_every=1steps", "trainer.keep_last=100", "run.plots=false", "run.loggers=[]")
    settings = (*MOONS, *often, "trainer.steps_per_epoch=2", "trainer.epochs=4", "model.dropout=0.1")
    whole = train(tmp_path, *settings)
    lines = [json.loads(line) for line in whole.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines if line["split"] == "val"] == [2, 4, 6, 8]
    wanted = {name: content(getattr(whole, name)) for name in ("last", "best")}
    for path in islice(whole.older(), 7):
        assert command(["resume", str(path)]) == 0
        assert {name: content(getattr(whole, name)) for name in ("last", "best")} == wanted


def test_steps_of_full_batches_are_refused(refused: Refused) -> None:
    said = refused("train", "dataset=moons", "trainer.batch_size=full", "trainer.steps_per_epoch=5", code=2)
    assert "steps_per_epoch=5 needs a batch_size that is a number" in said
