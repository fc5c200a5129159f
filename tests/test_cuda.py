"""The engines on CUDA. What they do runs on a CPU as well, unrecorded; the rest needs a device."""

import pytest
import running
import torch
from mlpkit.engines.stacked import StackedEngine
from mlpkit.engines.stacked_cuda import CudaStackedEngine

from mlpkit.batches import rows_of_steps
from mlpkit.data import load_dataset
from mlpkit.engines.autograd import AutogradEngine
from mlpkit.errors import NonFiniteError
from mlpkit.matmul import EXACT, Matmul
from mlpkit.models import build_model
from mlpkit.tasks import TASKS

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
RATE_AS_FLOAT32 = 1e-6  # on a device the learning rate is a float32; weights differ by that share of a step

RUNS = [
    ("dataset=moons", "model.hidden=[8,5]"),
    ("dataset=moons", "trainer.batch_size=32", "trainer.accumulate=2", "trainer.clip_norm=0.1"),
    ("dataset=digits", "optimizer=sgd", "optimizer.momentum=0.9", "trainer.batch_size=64"),
    ("dataset=line", "model=linear", "trainer.clip_value=0.5"),
]
DROPOUT = ("dataset=digits", "model.dropout=0.3", "trainer.batch_size=64")
NORMED = ("dataset=moons", "model.norm=batch", "trainer.batch_size=32", "trainer.clip_norm=0.1")


def engine_of(kind, device, *overrides, matmul=EXACT):
    config = running.config(*overrides)
    dataset = load_dataset(config.dataset)
    task, network = TASKS[dataset.signature.task], build_model(config, dataset, device)
    return config.trainer, kind(network, task, dataset.splits, config, device, matmul=matmul)


def on_the_cpu(*overrides):
    """Return the engine for CUDA as it would be with the recorder left out."""
    trainer, engine = engine_of(CudaStackedEngine, "cpu", *overrides)
    engine.graphs = None
    return trainer, engine


def autograd_that_does_not_wait(*overrides):
    """Return the autograd engine as it is on CUDA."""
    trainer, engine = engine_of(AutogradEngine, "cpu", *overrides)
    engine.never_wait()
    return trainer, engine


ON_THE_CPU = [
    *((on_the_cpu, StackedEngine, overrides) for overrides in (*RUNS, DROPOUT)),
    *((autograd_that_does_not_wait, AutogradEngine, overrides) for overrides in (*RUNS, DROPOUT, NORMED)),
]


def steps(trainer, engine, epoch):
    rows = len(engine.data.inputs["train"])
    return rows_of_steps(rows, trainer.batch_size, trainer.accumulate, 0, epoch, device=engine.device)


def train(trainer, engine, epochs, first=0):
    scores, step = [], first
    for epoch in range(epochs):
        for rows in steps(trainer, engine, epoch):
            engine.step(rows, 0.01, epoch, step, measure=True)
            step += 1
        scores.append(engine.collect())
    return scores, step


def assert_equal_within_rounding(engine, other, tolerance):
    for name in ("model_state", "optimizer_state"):
        found = {key: value.cpu() for key, value in getattr(engine, name)().items()}
        expected = {key: value.cpu() for key, value in getattr(other, name)().items()}
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    assert engine.gradient_norm() == pytest.approx(other.gradient_norm(), rel=100 * tolerance, abs=tolerance)
    assert engine.evaluate("val") == pytest.approx(other.evaluate("val"), rel=100 * tolerance, abs=tolerance)


@pytest.mark.parametrize(("make", "kind", "overrides"), ON_THE_CPU)
def test_what_they_do_is_what_they_do_on_the_cpu(make, kind, overrides):
    (trainer, engine), (_, other) = make(*overrides), engine_of(kind, "cpu", *overrides)
    assert train(trainer, engine, 3)[0] == [
        pytest.approx(scores, rel=1e-5) for scores in train(trainer, other, 3)[0]
    ]
    assert_equal_within_rounding(engine, other, RATE_AS_FLOAT32)


@pytest.mark.parametrize(("make", "kind", "overrides"), ON_THE_CPU)
def test_what_is_not_finite_stops_all_updates_and_is_reported_with_its_step(make, kind, overrides):
    trainer, engine = make(*overrides)
    _, step = train(trainer, engine, 3)
    rows = next(steps(trainer, engine, 3))
    engine.step(rows, 0.01, 3, step, measure=False)
    inputs = engine.data.inputs["train"].clone()
    for number, values in enumerate((inputs, torch.full_like(inputs, float("nan")), inputs, inputs)):
        if number == 1:
            before = engine.optimizer_state(), weights_of(engine)
        engine.data.inputs["train"].copy_(values)
        engine.step(rows, 0.01, 3, step + 1 + number, measure=False)
    with pytest.raises(NonFiniteError) as error:
        engine.collect()
    assert str(error.value).startswith(
        f"step {step + 3} (epoch 4): the loss or a gradient is not finite: training diverged"
    )
    torch.testing.assert_close((engine.optimizer_state(), weights_of(engine)), before, rtol=0, atol=0)


def weights_of(engine):
    return {name: parameter.detach().clone() for name, parameter in engine.network.named_parameters()}


@CUDA
@pytest.mark.parametrize("overrides", RUNS, ids=" ".join)
def test_a_device_gives_the_numbers_of_the_cpu(overrides):
    trainer, engine = engine_of(CudaStackedEngine, "cuda:0", *overrides)
    _, other = engine_of(StackedEngine, "cpu", *overrides)
    train(trainer, engine, 5)
    train(trainer, other, 5)
    assert engine.graphs.recorded
    assert_equal_within_rounding(engine, other, 1e-4)


@CUDA
@pytest.mark.parametrize("overrides", [*RUNS, NORMED], ids=" ".join)
def test_autograd_on_a_device_gives_the_numbers_of_the_cpu(overrides):
    trainer, engine = engine_of(AutogradEngine, "cuda:0", *overrides)
    _, other = engine_of(AutogradEngine, "cpu", *overrides)
    train(trainer, engine, 5)
    train(trainer, other, 5)
    assert_equal_within_rounding(engine, other, 1e-4)


@CUDA
def test_masks_are_drawn_anew_in_each_step_of_a_record():
    """Masks of a device are those of its own generator: it is compared with itself, without a record."""
    trainer, recorded = engine_of(CudaStackedEngine, "cuda:0", *DROPOUT)
    _, plain = engine_of(CudaStackedEngine, "cuda:0", *DROPOUT)
    plain.graphs = None
    train(trainer, recorded, 5)
    train(trainer, plain, 5)
    assert recorded.graphs.recorded
    assert_equal_within_rounding(recorded, plain, 1e-5)


@CUDA
@pytest.mark.parametrize("level", ["high", "bfloat16"])
def test_lower_levels_on_a_device_are_near_the_numbers_of_the_cpu(level):
    """Factors are rounded to 10 and 8 bits: weights of five epochs are that near, in some units."""
    trainer, engine = engine_of(CudaStackedEngine, "cuda:0", *RUNS[2], matmul=Matmul(level))
    _, other = engine_of(StackedEngine, "cpu", *RUNS[2])
    train(trainer, engine, 5)
    train(trainer, other, 5)
    assert_equal_within_rounding(engine, other, {"high": 1e-2, "bfloat16": 5e-2}[level])


@CUDA
@pytest.mark.parametrize(
    ("kind", "overrides"),
    [
        (CudaStackedEngine, RUNS[2]),
        (CudaStackedEngine, DROPOUT),
        (AutogradEngine, NORMED),
        (AutogradEngine, DROPOUT),
    ],
)
def test_nothing_waits_for_the_device_within_an_epoch(kind, overrides):
    trainer, engine = engine_of(kind, "cuda:0", *overrides)
    _, step = train(trainer, engine, 3)
    batches = list(steps(trainer, engine, 3))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number, rows in enumerate(batches):
            engine.step(rows, 0.01, 3, step + number, measure=False)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert engine.collect()["loss"] > 0
