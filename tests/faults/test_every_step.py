"""An interruption after any step, and between any parts of an evaluation, changes nothing."""

import signal
from functools import partial
from pathlib import Path

import pytest

from faults.conftest import Train
from faults.counts import FULL
from faults.prepare import evaluate_in_parts, interrupt_in_parts
from faults.processes import COMMON, start
from faults.runs import SAVED, check_checkpoints, check_ended_well, check_same, keep, resume_run
from mlpkit.folders import checkpoint

STEPS, PAUSES, EPOCHS = 10, 2, 6  # 10 steps an epoch, the last one ragged; 180 rows of val in parts of 64
TICKS = EPOCHS * (STEPS + PAUSES)
COMMON_HERE = (
    *COMMON, "dataset=digits", "model.hidden=[32]", "model.dropout=0.3", "model.norm=batch",
    "dataset.augment.rotation=10", "dataset.augment.translation=1", "dataset.augment.elastic=1",
    "dataset.augment.mixup=0.4",
    "trainer.batch_size=32", "trainer.accumulate=4", "trainer.clip_norm=1",
)  # fmt: skip
VARIANTS = {
    "onecycle": (
        "scheduler=onecycle", "scheduler.warmup_steps=5", "trainer.epochs=6",
        "trainer.early_stopping.patience=5", "trainer.early_stopping.min_delta=0.01",
    ),
    # No accuracy improves by 1: early stopping ends this one, after 6 of 20 epochs.
    "plateau": (
        "scheduler=plateau", "scheduler.patience=0", "scheduler.threshold=0.1", "scheduler.factor=0.5",
        "trainer.epochs=20", "trainer.early_stopping.patience=5", "trainer.early_stopping.min_delta=1",
    ),
}  # fmt: skip
# In short: the first step, one in the middle, the last of an epoch, an evaluation's first and last pause.
SOME = {"onecycle": (1, 35), "plateau": (STEPS, 3 * (STEPS + PAUSES) - PAUSES + 1, TICKS)}
CASES = [(variant, tick) for variant in VARIANTS for tick in (range(1, TICKS + 1) if FULL else SOME[variant])]


@pytest.mark.long
@pytest.mark.parametrize(("variant", "tick"), CASES)
def test_interrupted_after_any_step(variant: str, tick: int, tmp_path: Path, uninterrupted: Train) -> None:
    arguments = (*COMMON_HERE, *VARIANTS[variant])
    reference = uninterrupted(arguments, evaluate_in_parts)
    assert reference.steps == STEPS * EPOCHS
    running = start(tmp_path, "train", *arguments, prepare=partial(interrupt_in_parts, tick))
    code = running.wait()
    about = f"interrupted at tick {tick}; as it was stopped: {keep(tmp_path)}"
    epoch, part = divmod(tick - 1, STEPS + PAUSES)
    step = epoch * STEPS + min(part + 1, STEPS)
    line = f"mlpkit: interrupted after epoch {epoch}, step {step}; {SAVED}"
    assert (code, running.stderr()) == (128 + signal.SIGTERM, line), about
    assert check_checkpoints(tmp_path, about) == step, about
    check_ended_well(resume_run(tmp_path, arguments, as_train=False, prepare=evaluate_in_parts), about)
    check_same(tmp_path, reference, about)


@pytest.mark.long
def test_the_plateau_schedule_and_early_stopping_had_something_to_do(uninterrupted: Train) -> None:
    reference = uninterrupted((*COMMON_HERE, *VARIANTS["plateau"]), evaluate_in_parts)
    stored = checkpoint.load(reference.folder.last)
    assert stored.state.progress.plateau.multiplier < 1
    assert stored.state.progress.epoch < stored.config.trainer.epochs
