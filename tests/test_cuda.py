"""The engine on CUDA. What it does runs on a CPU as well, unrecorded; the rest needs a device."""

import pytest
import torch
from engines import KINDS, engine_of, trainer_of
from running import config as config_of

from mlpkit.engines.autograd import AutogradGradients
from mlpkit.engines.cuda import CudaEngine
from mlpkit.engines.engine import Engine
from mlpkit.engines.manual import ManualGradients
from mlpkit.engines.matmul import EXACT, Matmul
from mlpkit.errors import NonFiniteError

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
RATE_AS_FLOAT32 = 1e-6  # on a device the learning rate is a float32; weights differ by that share of a step

RUNS = [
    ("dataset=moons", "model.hidden=[8,5]"),
    ("dataset=moons", "trainer.batch_size=32", "trainer.accumulate=2", "trainer.clip_norm=0.1"),
    ("dataset=digits", "optimizer=sgd", "optimizer.momentum=0.9", "trainer.batch_size=64"),
    ("dataset=line", "model=linear", "trainer.clip_value=0.5"),
    ("dataset=moons", "trainer.batch_size=32", "trainer.class_weight=balanced"),
    ("dataset=moons", "trainer.batch_size=32", "optimizer=nadam", "trainer.ema=0.9"),
    ("dataset=moons", "optimizer=rmsprop", "optimizer.eps=0.01", "trainer.ema=0.5"),
]
DROPOUT = ("dataset=digits", "model.dropout=0.3", "trainer.batch_size=64")
# A batch norm takes a bias away again, whose gradient is then nothing but rounding, which Adam enlarges.
NORMED = (
    "dataset=moons", "model.norm=batch", "model.bias=false", "trainer.batch_size=32", "trainer.clip_norm=0.1",
)  # fmt: skip

SETTINGS = [
    *((ManualGradients, overrides) for overrides in (*RUNS, DROPOUT)),
    *((AutogradGradients, overrides) for overrides in (*RUNS, DROPOUT, NORMED)),
]


def made(engine, device, kind, overrides, runs=1, epochs=5, matmul=EXACT):
    """Return the trainer of runs with other seeds and rows, and their recorders."""
    common = (*overrides, "optimizer.lr=0.01", f"trainer.epochs={epochs}", "run.plots=false")
    configs = [config_of(*common, f"seed={run}", f"dataset.seed={run}") for run in range(runs)]
    return trainer_of(engine_of(kind, configs=configs, engine=engine, device=device, matmul=matmul))


def on_the_cpu(*how, **options):
    """Return a trainer as it is on CUDA, with the graphs left out."""
    trainer, recorders = made(CudaEngine, "cpu", *how, **options)
    trainer.engine.graphs = None
    return trainer, recorders


def assert_equal_within_rounding(found, expected, tolerance, scores=None):
    """Train both to their ends, and compare what each run has come to."""
    for trainer, _ in (found, expected):
        trainer.fit()
    for run, (ours, theirs) in enumerate(zip(found[1], expected[1], strict=True)):
        assert ours.error is theirs.error is None
        state, other = (of[0].engine.state(run) for of in (found, expected))
        for kind in ("model", "optimizer"):
            torch.testing.assert_close(state[kind], other[kind], rtol=tolerance, atol=tolerance)
        assert len(ours.reports) == len(theirs.reports) > 2
        bounds = {"rel": scores or 100 * tolerance, "abs": tolerance}
        for report, same in zip(ours.reports, theirs.reports, strict=True):
            assert report.grad_norm == pytest.approx(same.grad_norm, **bounds)
            for split, expected_scores in same.scores.items():
                assert report.scores[split] == pytest.approx(expected_scores, **bounds)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize(("kind", "overrides"), SETTINGS)
def test_what_it_does_is_what_the_engine_does_on_the_cpu(kind, overrides, runs):
    ours = on_the_cpu(kind, overrides, runs, epochs=3)
    theirs = made(Engine, "cpu", kind, overrides, runs, epochs=3)
    # Adam enlarges what is added up in another order: of thousands of weights one or two are 7e-6 apart.
    tolerance = RATE_AS_FLOAT32 if runs == 1 else 10 * RATE_AS_FLOAT32
    assert_equal_within_rounding(ours, theirs, tolerance, scores=1e-5)


def steps(trainer):
    """Return the rows of each step of the running epoch."""
    return list(trainer.engine.rows_of_steps(trainer.progress.epoch, trainer.progress.batch))


def train(trainer, epochs):
    trainer.start_clock()
    for _ in range(epochs):
        trainer.train_epoch()
        trainer.evaluate()


def take_steps(trainer, rows, first, count):
    for step in range(count):
        trainer.engine.step(
            rows, [0.01] * len(trainer.engine.optimizers.blocks), 3, first + step, measure=False
        )
        if trainer.steps_per_epoch == 1:
            trainer.engine.collect()


def spoil(engine, rows):
    """Put what is no number into training rows; return what puts the numbers back."""
    inputs = engine.data.splits["train"].inputs
    kept = inputs.clone()
    inputs[rows] = float("nan")
    return lambda: inputs.copy_(kept)


@pytest.mark.sampled(2)
@pytest.mark.sampled(3)
@pytest.mark.parametrize(("kind", "overrides"), SETTINGS)
def test_what_is_not_finite_is_reported_once_with_its_step(kind, overrides):
    trainer, _ = on_the_cpu(kind, overrides)
    train(trainer, 3)
    engine, first, rows = trainer.engine, trainer.progress.step, steps(trainer)[0]
    take_steps(trainer, rows, first, 1)
    mend = spoil(engine, rows)
    take_steps(trainer, rows, first + 1, 1)
    mend()
    take_steps(trainer, rows, first + 2, 1)
    assert_failed(engine.failures(), 0, first + 2)
    assert engine.failures() == {}


def of_run(engine, run):
    """Return a run's weights and optimizer; batch norms go on counting."""
    state = engine.state(run)
    weights = {name: state["model"][name] for name, _ in engine.experiments[run].network.named_parameters()}
    return weights, state["optimizer"]


def assert_failed(failures, run, step):
    assert list(failures) == [run]
    assert isinstance(failures[run], NonFiniteError)
    assert str(failures[run]).startswith(
        f"step {step} (epoch 4): a gradient is not finite: training diverged"
    )


@pytest.mark.sampled(9)
@pytest.mark.parametrize(
    ("kind", "overrides"),
    [of for of in SETTINGS if any("batch_size" in override for override in of[1])],
)
def test_of_several_runs_one_that_fails_is_reported_and_spares_the_others(kind, overrides):
    pairs = [on_the_cpu(kind, overrides, 3) for _ in range(2)]
    for trainer, _ in pairs:
        train(trainer, 3)
    (trainer, _), (untouched, _) = pairs
    engine, first, rows = trainer.engine, trainer.progress.step, steps(trainer)[0]
    for each in (trainer, untouched):
        take_steps(each, rows, first, 1)
    mend = spoil(engine, rows[1][~torch.isin(rows[1], rows[[0, 2]])])
    for each in (trainer, untouched):
        take_steps(each, rows, first + 1, 1)
    mend()
    for each in (trainer, untouched):
        take_steps(each, rows, first + 2, 1)
    assert_failed(engine.failures(), 1, first + 2)
    assert untouched.engine.failures() == {}
    for run in (0, 2):
        torch.testing.assert_close(of_run(engine, run), of_run(untouched.engine, run), rtol=0, atol=0)


@CUDA
@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("overrides", RUNS, ids=" ".join)
def test_a_device_gives_the_numbers_of_the_cpu(overrides, runs):
    ours = made(CudaEngine, "cuda:0", ManualGradients, overrides, runs)
    assert_equal_within_rounding(ours, made(Engine, "cpu", ManualGradients, overrides, runs), 1e-4)
    assert ours[0].engine.graphs.captured


@CUDA
@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("overrides", [*RUNS, (*NORMED, "optimizer=sgd")], ids=" ".join)
def test_autograd_on_a_device_gives_the_numbers_of_the_cpu(overrides, runs):
    how = AutogradGradients, overrides, runs
    assert_equal_within_rounding(made(CudaEngine, "cuda:0", *how), made(Engine, "cpu", *how), 1e-4)


@CUDA
@pytest.mark.parametrize("runs", [1, 3])
def test_masks_are_drawn_anew_in_each_step_of_a_record(runs):
    """Masks of a device are those of its own generator: it is compared with itself, without a record."""
    recorded, plain = (made(CudaEngine, "cuda:0", ManualGradients, DROPOUT, runs) for _ in range(2))
    plain[0].engine.graphs = None
    assert_equal_within_rounding(recorded, plain, 1e-5)
    assert recorded[0].engine.graphs.captured


@CUDA
@pytest.mark.parametrize(("level", "error"), [("high", 1e-2), ("bfloat16", 5e-2)])
def test_lower_levels_on_a_device_are_near_the_numbers_of_the_cpu(level, error):
    """Factors are rounded to 10 and 8 bits; what five epochs make of it is measured over all weights."""
    (ours, _), (theirs, _) = (
        made(CudaEngine, "cuda:0", ManualGradients, RUNS[2], matmul=Matmul(level)),
        made(Engine, "cpu", ManualGradients, RUNS[2]),
    )
    for trainer in (ours, theirs):
        train(trainer, 5)
    found, expected = (of.engine.state(0)["model"] for of in (ours, theirs))
    for name, weights in expected.items():
        assert (found[name] - weights).norm() < error * weights.norm(), name


@CUDA
@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize(
    ("kind", "overrides"),
    [
        (ManualGradients, RUNS[2]),
        (ManualGradients, DROPOUT),
        (AutogradGradients, NORMED),
        (AutogradGradients, DROPOUT),
    ],
)
def test_nothing_waits_for_the_device_within_an_epoch(kind, overrides, runs):
    trainer, _ = made(CudaEngine, "cuda:0", kind, overrides, runs)
    train(trainer, 3)
    engine, lrs, first = trainer.engine, [0.01] * len(trainer.engine.optimizers.blocks), trainer.progress.step
    batches = steps(trainer)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number, rows in enumerate(batches):
            engine.step(rows, lrs, 3, first + number, measure=False)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert engine.failures() == {}
    loss = engine.scores(engine.collect(), "train")["loss"]
    assert (loss > 0).all() if runs > 1 else loss > 0


def test_kinds_are_all_tried():
    assert {kind for kind, _ in SETTINGS} == set(KINDS)
