"""The stacked engine on CUDA. Its program runs on a CPU as well, unrecorded; the rest needs a device."""

import pytest
import running
import torch

from mlpkit.batches import rows_of_steps
from mlpkit.data import load_dataset
from mlpkit.engines.stacked import StackedEngine
from mlpkit.engines.stacked_cuda import CudaStackedEngine
from mlpkit.errors import NonFiniteError
from mlpkit.models import build_model
from mlpkit.tasks import TASKS

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
RATE_AS_FLOAT32 = 1e-6  # on a device the learning rate is a float32; weights differ by that share of a step

RUNS = [
    ("dataset=moons", "model.hidden=[8,5]"),
    ("dataset=moons", "trainer.batch_size=32", "trainer.accumulate=2", "trainer.clip_norm=0.1"),
    ("dataset=digits", "optimizer=sgd", "optimizer.momentum=0.9", "trainer.batch_size=64"),
    ("dataset=line", "model=linear", "trainer.clip_value=0.5"),
    ("dataset=digits", "model.dropout=0.3", "trainer.batch_size=64"),
]


def engine_of(kind, device, *overrides):
    config = running.config(*overrides)
    dataset = load_dataset(config.dataset)
    task, network = TASKS[dataset.signature.task], build_model(config, dataset, device)
    return config.trainer, kind(network, task, dataset.splits, config, device)


def on_the_cpu(*overrides):
    """Return the engine for CUDA as it would be with the recorder left out."""
    trainer, engine = engine_of(CudaStackedEngine, "cpu", *overrides)
    engine.graphs = None
    return trainer, engine


def train(trainer, engine, epochs, first=0):
    scores, step = [], first
    for epoch in range(epochs):
        for rows in rows_of_steps(
            engine.rows, trainer.batch_size, trainer.accumulate, 0, epoch, device=engine.device
        ):
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


@pytest.mark.parametrize("overrides", RUNS, ids=" ".join)
def test_its_program_is_that_of_the_cpu(overrides):
    (trainer, engine), (_, other) = on_the_cpu(*overrides), engine_of(StackedEngine, "cpu", *overrides)
    assert train(trainer, engine, 3)[0] == [
        pytest.approx(scores, rel=1e-5) for scores in train(trainer, other, 3)[0]
    ]
    assert_equal_within_rounding(engine, other, RATE_AS_FLOAT32)


@pytest.mark.parametrize("overrides", RUNS, ids=" ".join)
def test_what_is_not_finite_stops_all_updates_and_is_reported_with_its_step(overrides):
    trainer, engine = on_the_cpu(*overrides)
    _, step = train(trainer, engine, 3)
    rows = next(rows_of_steps(engine.rows, trainer.batch_size, trainer.accumulate, 0, 3))
    engine.step(rows, 0.01, 3, step, measure=False)
    inputs = engine.inputs.clone()
    for number, values in enumerate((inputs, torch.full_like(inputs, float("nan")), inputs, inputs)):
        if number == 1:
            before = engine.optimizer_state(), {k: v.clone() for k, v in engine.network.state_dict().items()}
        engine.inputs.copy_(values)
        engine.step(rows, 0.01, 3, step + 1 + number, measure=False)
    with pytest.raises(NonFiniteError) as error:
        engine.collect()
    assert str(error.value).startswith(
        f"step {step + 3} (epoch 4): the loss or a gradient is not finite: training diverged"
    )
    after = engine.optimizer_state(), dict(engine.network.state_dict())
    torch.testing.assert_close(after, before, rtol=0, atol=0)


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
def test_dropout_is_a_function_of_the_seed_in_a_record_too():
    weights = []
    for _ in range(2):
        trainer, engine = engine_of(CudaStackedEngine, "cuda:0", *RUNS[1], "model.dropout=0.4")
        train(trainer, engine, 5)
        weights.append(engine.model_state())
    torch.testing.assert_close(*weights, rtol=0, atol=0)


@CUDA
def test_nothing_waits_for_the_device_within_an_epoch():
    trainer, engine = engine_of(CudaStackedEngine, "cuda:0", *RUNS[2])
    _, step = train(trainer, engine, 3)
    batches = list(rows_of_steps(engine.rows, trainer.batch_size, 1, 0, 3, device="cuda:0"))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number, rows in enumerate(batches):
            engine.step(rows, 0.01, 3, step + number, measure=False)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert engine.collect()["loss"] > 0
