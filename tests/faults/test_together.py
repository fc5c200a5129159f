"""Processes at the same time: each new run has its own folder, and one process writes to a run."""

import re
from functools import partial
from multiprocessing.connection import wait as wait_for_any
from pathlib import Path

import pytest

from faults.conftest import Train
from faults.counts import count
from faults.prepare import hold_at_first_step, meet, signal_at
from faults.processes import COMMON, LIMIT, RUN, Running, forks, start
from faults.runs import check_ended_well, check_same, resume_run
from mlpkit.folders.run_folder import RunFolder

IN_USE = 75
ARGUMENTS = (
    *COMMON, "dataset=moons", "dataset.n=120", "model.hidden=[8]", "model.dropout=0.1",
    "trainer.batch_size=32", "trainer.epochs=30", "trainer.checkpoint_every=10steps",
)  # fmt: skip


@pytest.mark.long
def test_runs_of_the_same_second_have_their_own_folders(tmp_path: Path) -> None:
    number = count(4, 20)
    together = partial(meet, forks.Barrier(number), "mlpkit.folders.new_run", "create")
    arguments = ("dataset=moons", "trainer.epochs=2", "run.plots=false", "run.progress=none")
    all_running = [start(tmp_path, "train", *arguments, prepare=together) for _ in range(number)]
    for running in all_running:
        check_ended_well(running, "")
    folders = list((tmp_path / "outputs" / "moons-mlp").iterdir())
    assert len(folders) == number
    first = folders[0]
    for folder in folders:
        assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in first.iterdir())
        run = RunFolder(folder)
        assert len(run.metrics.read_text().splitlines()) == 5
        assert run.best.read_bytes() == RunFolder(first).best.read_bytes()


@pytest.mark.parametrize("begun", [True, pytest.param(False, marks=pytest.mark.long)])
@pytest.mark.parametrize("case", range(count(1, 10)))
def test_of_two_that_go_on_at_once_one_does(
    case: int, begun: bool, tmp_path: Path, uninterrupted: Train
) -> None:
    """Two `resume` of a run that was interrupted, or two `train run.resume=auto` of one that is not there."""
    reference = uninterrupted(ARGUMENTS)
    if begun:
        interrupt(tmp_path)
    go_now = forks.Event()
    where = "mlpkit.training.start" if begun else "mlpkit.folders.new_run"
    together = partial(meet, forks.Barrier(2), where, "locked" if begun else "create", go_now)
    command = ("resume", RUN) if begun else ("train", *ARGUMENTS)
    both = [start(tmp_path, *command, prepare=together) for _ in range(2)]
    loser, winner = in_order_of_ending(both)
    assert_in_use(loser, winner)
    go_now.set()
    check_ended_well(winner, "")
    check_same(tmp_path, reference, "")


@pytest.mark.long
@pytest.mark.parametrize("command", ["resume", pytest.param("auto", marks=pytest.mark.long)])
def test_a_killed_holder_frees_the_run_at_once(command: str, tmp_path: Path, uninterrupted: Train) -> None:
    reference = uninterrupted(ARGUMENTS)
    interrupt(tmp_path)
    reached, never = forks.Event(), forks.Event()
    as_train = command == "auto"
    holder = resume_run(tmp_path, ARGUMENTS, as_train, prepare=partial(hold_at_first_step, reached, never))
    assert reached.wait(LIMIT)
    assert_in_use(resume_run(tmp_path, ARGUMENTS, as_train), holder)
    assert holder.kill() == 137
    check_ended_well(resume_run(tmp_path, ARGUMENTS, as_train), "")
    check_same(tmp_path, reference, "")


def interrupt(folder: Path) -> None:
    """Begin a run, and interrupt it in its middle."""
    running = start(folder, "train", *ARGUMENTS, prepare=partial(signal_at, 15, 50))
    assert running.wait() == 143


def in_order_of_ending(running: list[Running]) -> list[Running]:
    """Return two processes, first the one that has ended first."""
    ended = wait_for_any([one.process.sentinel for one in running], LIMIT)
    assert ended, "neither has ended"
    return sorted(running, key=lambda one: one.process.sentinel not in ended)


def assert_in_use(loser: Running, winner: Running) -> None:
    """Check that a process has left a run to another, and said to whom."""
    code, said = loser.wait(), loser.stderr()
    found = re.fullmatch(
        rf"mlpkit: {RUN}: in use by process (\d+) on (\S+); wait until it has ended, or stop it\n", said
    )
    assert code == IN_USE and found, (code, said)
    assert int(found[1]) == winner.number
