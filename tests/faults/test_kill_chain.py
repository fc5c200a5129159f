"""kill -9 again and again: the run ends as if nothing was, and TensorBoard shows each step once."""

import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from faults.conftest import Train
from faults.counts import count
from faults.prepare import die_at
from faults.processes import COMMON, RUN
from faults.runs import Uninterrupted, check_checkpoints, check_ended_well, check_same, resume_run
from mlpkit.folders.run_folder import RunFolder

# 10 steps an epoch, the last one shorter; checkpoints at varying places in it.
ARGUMENTS = (
    *COMMON, "dataset=digits", "model.hidden=[32]", "model.dropout=0.2", "dataset.augment.rotation=8",
    "scheduler=onecycle", "trainer.batch_size=128", "trainer.epochs=100", "trainer.checkpoint_every=7steps",
)  # fmt: skip


def kill_again_and_again(folder: Path, reference: Uninterrupted, kills: int, seed: int) -> str:
    """Kill a run at random instants; return what was done, for a message.

    Who is not killed from outside in time kills itself after some steps: the run never comes to its end.
    """
    draw = random.Random(seed)
    most = reference.steps // (kills + 1)
    done: list[Any] = []
    for _ in range(kills):
        instant, ticks = draw.uniform(0.3, 2.0) * reference.startup, draw.randint(1, most)
        as_train = draw.random() < 0.5
        running = resume_run(folder, ARGUMENTS, as_train, prepare=partial(die_at, ticks))
        running.ended_within(instant)
        code = running.kill()
        step = check_checkpoints(folder, f"after {done}")
        done.append(f"{instant:.4f} s or {ticks} ticks (now at step {step})")
        assert (code, running.stderr()) == (137, ""), f"killed after {done} in {folder}"
    return f"killed after {', '.join(done)} in {folder}"


@pytest.mark.long
@pytest.mark.parametrize("seed", range(count(1, 5)))
def test_ten_kills(seed: int, tmp_path: Path, uninterrupted: Train) -> None:
    reference = uninterrupted(ARGUMENTS)
    about = kill_again_and_again(tmp_path, reference, count(3, 10), seed)
    check_ended_well(resume_run(tmp_path, ARGUMENTS, as_train=False), about)
    check_same(tmp_path, reference, about)


@pytest.mark.long
def test_tensorboard_shows_each_step_once(tmp_path: Path, uninterrupted: Train) -> None:
    reference = uninterrupted(ARGUMENTS)
    about = kill_again_and_again(tmp_path, reference, count(5, 50), seed=100)
    check_ended_well(resume_run(tmp_path, ARGUMENTS, as_train=False), about)
    check_same(tmp_path, reference, about)
    shown, expected = scalars(RunFolder(tmp_path / RUN)), scalars(reference.folder)
    assert {"Loss/train", "Loss/val", "Loss/test", "Accuracy/val", "lr", "grad_norm"} <= set(expected)
    for tag, points in shown.items():
        steps = [step for step, _ in points]
        assert steps == sorted(set(steps)), f"{tag}: {about}"
    assert shown == expected, about


def scalars(run: RunFolder) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard shows, by tag: steps and values."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.tensorboard), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}
