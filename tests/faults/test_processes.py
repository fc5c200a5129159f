"""One run trained by several processes: it equals that of one, any number resumes it, all end together."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.counts import FULL
from faults.processes import RUN, Running, start, start_fresh
from faults.runs import check_checkpoints, check_close
from mlpkit.folders import checkpoint
from mlpkit.folders.run_folder import RunFolder
from mlpkit.system.platform import is_alive

pytestmark = pytest.mark.skipif(not FULL, reason="many processes; run by `make faults`")

COMMON = (
    f"run.dir={RUN}", "run.plots=false", "run.loggers=[]", "run.progress=none", "model=mlp",
    "model.hidden=[16]", "trainer=mini_batch", "trainer.threads=1",
)  # fmt: skip
LONG = (
    *COMMON, "dataset=moons", "trainer.batch_size=35", "trainer.epochs=200", "model.dropout=0.2",
    "trainer.checkpoint_every=1000",
)  # fmt: skip
CASES = {
    "members": (*COMMON, "dataset=moons", "trainer.epochs=5", "trainer.batch_size=35", "model.members=3"),
    "best epochs of members": (
        *COMMON, "dataset=iris", "trainer.epochs=5", "trainer.batch_size=35", "model.members=3",
        "dataset.val_folds=3", "trainer.monitor=loss", "trainer.best_epoch=own",
    ),
    "one row for three": (
        *COMMON, "dataset=moons", "dataset.n=20", "trainer.batch_size=1", "trainer.epochs=3",
    ),
    "all at once": (
        *COMMON, "dataset=digits", "trainer.epochs=2", "trainer.batch_size=100", "trainer.accumulate=3",
        "model.dropout=0.3", "trainer.class_weight=balanced", "dataset.augment.rotation=10",
        "dataset.augment.elastic=1",
    ),
}  # fmt: skip
WITHIN = 20.0  # seconds, on a busy machine, in which all processes end after one of them


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunFolder]:
    """Return the run that one process trains with some arguments, each trained once."""
    known: dict[tuple[str, ...], RunFolder] = {}

    def train(arguments: tuple[str, ...]) -> RunFolder:
        if arguments not in known:
            folder = tmp_path_factory.mktemp("alone")
            running = start(folder, "train", *arguments)
            assert running.wait() == 0
            (folder / "said").write_text(running.stderr())
            known[arguments] = RunFolder(folder / RUN)
        return known[arguments]

    return train


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [2, 3])
def test_it_is_the_run_of_one(case: str, size: int, tmp_path: Path, alone: Callable[..., RunFolder]) -> None:
    settings = CASES[case]
    running = start(tmp_path, "train", *settings, f"trainer.processes={size}")
    assert running.wait() == 0
    one = alone(settings)
    assert running.stderr() == (one.path.parents[1] / "said").read_text()
    check_close(RunFolder(tmp_path / RUN), one)


def test_torchrun_starts_the_processes(tmp_path: Path, alone: Callable[..., RunFolder]) -> None:
    settings = CASES["all at once"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "mlpkit", "train"]
    done = subprocess.run([*command, *settings], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    check_close(RunFolder(tmp_path / RUN), alone(settings))
    assert checkpoint.load(RunFolder(tmp_path / RUN).last).config.trainer.processes == 2


@pytest.mark.parametrize(("size", "then"), [(2, 1), (2, 3), (3, 2), (1, 2)])
def test_sigterm_saves_and_any_number_goes_on(
    size: int, then: int, tmp_path: Path, alone: Callable[..., RunFolder]
) -> None:
    running = start_fresh(tmp_path, "train", *LONG, f"trainer.processes={size}")
    others = others_in_training(running, tmp_path, size)
    running.send(signal.SIGTERM)
    assert running.wait() == 143
    said = running.stderr()
    assert said.startswith("mlpkit: interrupted") and "saved; to go on" in said and said.count("\n") == 1
    wait_for_end(others)
    resume(tmp_path, then, alone)


@pytest.mark.parametrize("size", [2, 3])
def test_a_killed_process_ends_the_others(size: int, tmp_path: Path, alone: Callable[..., RunFolder]) -> None:
    running = start_fresh(tmp_path, "train", *LONG, f"trainer.processes={size}")
    others = others_in_training(running, tmp_path, size)
    os.kill(others[-1], signal.SIGKILL)
    assert running.ended_within(WITHIN) and running.wait() == 1
    said = running.stderr()
    # The order in which the system lists children is that in which they were started.
    assert said.startswith(
        f"mlpkit: process {size} of {size} was killed (signal 9); interrupted after epoch "
    )
    assert said.endswith(f"; saved; to go on: mlpkit resume {RUN}\n") and said.count("\n") == 1
    assert check_checkpoints(tmp_path, said)
    wait_for_end(others)
    resume(tmp_path, size, alone)


def test_the_others_end_when_the_first_is_killed(tmp_path: Path) -> None:
    running = start_fresh(tmp_path, "train", *LONG, "trainer.processes=3")
    others = others_in_training(running, tmp_path, 3)
    assert running.kill() == 137
    wait_for_end(others)
    assert running.stderr() == (
        "mlpkit: the first process of the training was killed: its run folder has the last checkpoint; "
        "to go on: mlpkit resume\n"
    )


def others_in_training(running: Running, folder: Path, size: int) -> list[int]:
    """Wait until some epochs are done; return the process ids of the others."""
    path, end = RunFolder(folder / RUN).metrics, time.monotonic() + 100
    while not path.exists() or len(path.read_bytes()) < 1000:
        assert not running.ended_within(0.05) and time.monotonic() < end, running.stderr()
    listed = Path(f"/proc/{running.number}/task/{running.number}/children").read_text().split()
    assert len(listed) == size - 1
    return [int(number) for number in listed]


def wait_for_end(others: list[int]) -> None:
    """Wait until processes have ended."""
    end = time.monotonic() + WITHIN
    while any(map(is_alive, others)):
        assert time.monotonic() < end, f"{others} are alive"


def resume(folder: Path, size: int, alone: Callable[..., RunFolder]) -> None:
    """Go on with a number of processes, and compare the end with that of one process that nothing stopped."""
    running = start(folder, "resume", RUN, f"trainer.processes={size}")
    assert running.wait() == 0, running.stderr()
    check_close(RunFolder(folder / RUN), alone(LONG), 1e-3)
