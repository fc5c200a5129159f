"""SIGTERM and SIGINT at any instant: one line, the signal's exit code, and a checkpoint to go on from."""

import os
import random
import re
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest

from faults.conftest import Train
from faults.counts import FULL, count
from faults.processes import COMMON, RUN, Running, start, start_fresh
from faults.runs import SAVED, check_checkpoints, check_ended_well, check_same, keep, resume_run
from mlpkit.folders.run_folder import RunFolder

ARGUMENTS = (
    *COMMON, "dataset=digits", "model.hidden=[32]", "model.dropout=0.2", "scheduler=cosine",
    "trainer.epochs=240", "trainer.checkpoint_every=0.2s",
)  # fmt: skip
PATIENCE = 2.0  # seconds from a signal to the end; a step takes less than the hundredth part
LONGEST = 20.0  # on the busiest machine


@pytest.fixture(scope="module")
def seconds_of_a_fresh_process(tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long a process takes from its start to its last save."""
    folder = tmp_path_factory.mktemp("fresh")
    began = time.time()
    assert start_fresh(folder, "train", *ARGUMENTS).wait() == 0
    return RunFolder(folder / RUN).last.stat().st_mtime - began


@pytest.mark.skipif(not FULL, reason="minutes; run by `make faults`")
@pytest.mark.parametrize("case", range(100))
def test_sigterm_at_any_instant(
    case: int, tmp_path: Path, uninterrupted: Train, seconds_of_a_fresh_process: float
) -> None:
    """Half of them fall into the training, which takes less time than what is loaded before it."""
    reference, run, draw = uninterrupted(ARGUMENTS), RunFolder(tmp_path / RUN), random.Random(case)
    running = start_fresh(tmp_path, "train", *ARGUMENTS)
    if case % 2 == 0:
        after, longest = "its start", seconds_of_a_fresh_process
    else:
        after, longest = "config.yaml", reference.seconds - reference.startup
        wait_for(run.config, running)
    instant = draw.random() * longest
    running.ended_within(instant)
    took = end(running, signal.SIGTERM)
    code, said = running.wait(), running.stderr()
    about = (
        f"case {case}: SIGTERM {instant:.4f} s after {after}, {took:.2f} s to its end, exit code {code}, "
        f"it said {said!r}; as it was stopped: {keep(tmp_path)}"
    )
    assert took < PATIENCE, about
    step = check_checkpoints(tmp_path, about)
    if code == 0:  # it had already ended, or was about to
        assert said == "" and step == reference.steps, about
    else:
        assert code == 128 + signal.SIGTERM, about
        check_line(said, step, reference.steps, about)
    assert not list(tmp_path.rglob("*.tmp")), about
    check_ended_well(resume_run(tmp_path, ARGUMENTS, as_train=draw.random() < 0.5), about)
    check_same(tmp_path, reference, about)


@pytest.mark.long
@pytest.mark.parametrize("case", range(count(1, 10)))
def test_sigint_while_training(case: int, tmp_path: Path, uninterrupted: Train) -> None:
    reference = uninterrupted(ARGUMENTS)
    running = start(tmp_path, "train", *ARGUMENTS)
    wait_for(RunFolder(tmp_path / RUN).metrics, running)
    instant = random.Random(case).random() * (reference.seconds - reference.startup) / 2
    running.ended_within(instant)
    took = end(running, signal.SIGINT)
    about = (
        f"case {case}: SIGINT {instant:.4f} s after metrics.jsonl, {took:.2f} s to its end; "
        f"as it was stopped: {keep(tmp_path)}"
    )
    code, said, step = running.wait(), running.stderr(), check_checkpoints(tmp_path, about)
    assert took < PATIENCE, about
    if code == 0:  # the machine has become faster than it was for the reference
        assert said == "" and step == reference.steps, about
    else:
        assert code == 128 + signal.SIGINT, about
        check_line(said, step, reference.steps, about)
    check_ended_well(resume_run(tmp_path, ARGUMENTS, as_train=False), about)
    check_same(tmp_path, reference, about)


@pytest.mark.long
@pytest.mark.parametrize("case", range(20))
def test_a_second_sigint_ends_it_at_once(case: int, tmp_path: Path, uninterrupted: Train) -> None:
    reference = uninterrupted(ARGUMENTS)
    run, draw = RunFolder(tmp_path / RUN), random.Random(case)
    running = start(tmp_path, "train", *ARGUMENTS)
    wait_for(run.last, running)
    running.ended_within(draw.random() * 0.1)
    running.send(signal.SIGINT)
    pause = draw.random() * 0.01
    running.ended_within(pause)
    took = end(running, signal.SIGINT)
    about = (
        f"case {case}: SIGINT twice, {pause:.4f} s between, {took:.2f} s to its end; "
        f"as it was stopped: {keep(tmp_path)}"
    )
    assert running.wait() == 128 + signal.SIGINT, about
    assert took < PATIENCE, about
    # Where the second came while the process was already leaving, it is answered by a line of its own.
    assert re.fullmatch(r"(mlpkit: interrupted.*\n){1,2}", running.stderr()), about
    assert check_checkpoints(tmp_path, about), about
    check_ended_well(resume_run(tmp_path, ARGUMENTS, as_train=False), about)
    check_same(tmp_path, reference, about)


def end(running: Running, number: int) -> float:
    """Send a signal, and return how long the process took to end.

    Where others keep the machine busy, the time that counts is what the process computed itself, as the
    system says of a fresh one; a forked one is not this process's child.
    """
    before, began = _computed(running.number), time.perf_counter()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    if not running.ended_within(0):
        running.send(number)
    running.wait()
    took = time.perf_counter() - began
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    computed = now.ru_utime + now.ru_stime - children.ru_utime - children.ru_stime - before
    fresh = isinstance(running.process, subprocess.Popen)
    return min(took, computed) if fresh and took < LONGEST else took


def _computed(number: int) -> float:
    """Return the processor time that a process has used so far, where the system tells."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for(path: Path, running: Running) -> None:
    """Wait until a process has written a file."""
    while not (path.exists() and path.stat().st_size):
        assert not running.ended_within(0.001), running.stderr()


def check_line(said: str, step: int | None, all_steps: int, about: str) -> None:
    """Check what an interrupted process has said, and that a step that it has taken is in a checkpoint."""
    if said == "":  # before Python had begun
        assert step is None, about
    elif said == "mlpkit: interrupted\n":  # before the run, or after it
        assert step in (None, all_steps), about
    else:
        found = re.fullmatch(rf"mlpkit: interrupted( after epoch \d+, step (\d+))?; {re.escape(SAVED)}", said)
        assert found and step, about
        assert found[2] in (None, str(step)), about
