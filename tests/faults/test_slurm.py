"""Sweeps on a real Slurm, whose daemons run on this machine for the tests alone."""

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import pytest

from faults.launched import ARGUMENTS, MOONS, SWEEP, check_bits, resume, sweep
from faults.processes import LIMIT, Running, end_all, start_fresh
from faults.slurm import NEEDS_SLURM, Node, start_slurm
from mlpkit.folders.checkpoint import load
from mlpkit.folders.run_folder import RunFolder
from mlpkit.system.plain_json import read_object

pytestmark = [pytest.mark.long, NEEDS_SLURM]


@pytest.fixture(scope="module")
def slurm() -> Iterator[Path]:
    """A cluster of one node with two cores; return its slurm.conf."""
    with TemporaryDirectory(prefix="slurm-") as folder, ExitStack() as stack:
        name = socket.gethostname().partition(".")[0]
        yield start_slurm(Path(folder), [Node(name, "127.0.0.1", cores=2)], stack)


@pytest.fixture
def folder(slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose commands know the cluster; jobs that are left behind are killed."""
    monkeypatch.setenv("SLURM_CONF", str(slurm))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path
    end_all()  # a sweep that goes on would submit its jobs again
    said("scancel", "--me", "--signal=KILL", "--full")
    check_none_is_left()


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=True).stdout


def jobs(*which: str) -> list[str]:
    """Return the jobs of the queue, as Slurm names them."""
    return said("squeue", "--me", "--array", "--noheader", "--sort=i", "--format=%i", *which).split()


def check_none_is_left() -> None:
    """A job that has ended is in the queue for some moments more."""
    deadline = monotonic() + LIMIT
    while found := jobs():
        assert monotonic() < deadline, found


def epoch(folder: Path) -> int:
    """Return the epoch that the first run has saved."""
    (run,) = (folder / SWEEP).glob("0000-*")
    return load(RunFolder(run).last).state.progress.epoch


def resumed_at(folder: Path) -> int | None:
    """Return the epoch that the first run was resumed from, once it has trained on from there."""
    for log in (folder / SWEEP).glob("0000-*/train.log"):
        if found := re.search(r"resumed from .*: epoch (\d+), .*\n(.*\n)*epoch ", log.read_text()):
            return int(found[1])
    return None


@pytest.mark.parametrize("how", [(), ("--signal=KILL", "--full")], ids=["scancel", "kill"])
def test_a_job_is_cancelled(how: tuple[str, ...], folder: Path, local_sweep: Path) -> None:
    """It goes on from its checkpoint, as a job whose node was lost; the other one does not notice."""
    running = sweep(folder, "--launcher=slurm")
    first, second = jobs()
    array, _, index = first.partition("_")
    assert (index, second) == ("0", f"{array}_1")
    said("scancel", *how, first)
    assert (running.wait(), running.stderr()) == (0, "")
    submitted = sorted(path.name for path in (folder / SWEEP / "slurm").glob("*/*_submitted.pkl"))
    assert len(submitted) == 3 and submitted[:2] == [f"{array}_0_submitted.pkl", f"{array}_1_submitted.pkl"]
    check_bits(folder, local_sweep)


def test_jobs_that_slurm_refuses(folder: Path) -> None:
    options = ("--launcher=slurm", "--slurm=partition=none")
    running = start_fresh(folder, "train", "-m", *ARGUMENTS, *options)
    assert running.wait() == 74
    (line,) = [line for line in running.stderr().splitlines() if line.startswith("mlpkit: ")]
    assert line.startswith("mlpkit: --launcher=slurm: cannot submit the jobs (sbatch: error: ")
    assert "Traceback" not in running.stderr()


def test_its_time_is_up(folder: Path) -> None:
    """Slurm asks a job to save some 20 to 80 seconds before its time is up; it is requeued, and goes on."""
    options = ("--launcher=slurm", "--slurm=timeout_min=2", "--slurm=signal_delay_s=20")
    endless = ("trainer.epochs=1000000", "trainer.checkpoint_every=1000000")
    running = start_fresh(folder, "train", "-m", *MOONS, *endless, *options)
    while (resumed := resumed_at(folder)) is None:
        assert not running.ended_within(0.5), running.stderr()
        for job in jobs("--states=PENDING"):  # Slurm lets a requeued job wait for two minutes
            subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=False)
    assert "Restarts=0" not in said("scontrol", "show", "job", jobs()[0])
    check_interrupted(running)
    assert epoch(folder) > resumed > 0


def check_interrupted(running: Running) -> None:
    """Press Ctrl-C: the jobs save their runs and end."""
    running.send(signal.SIGINT)
    assert running.wait() == 130
    done = "mlpkit: interrupted: 0 of"
    assert running.stderr().startswith(done) and running.stderr().count("\n") == 1, running.stderr()
    check_none_is_left()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_sweep_is_stopped(number: int, folder: Path, local_sweep: Path) -> None:
    running = sweep(folder, "--launcher=slurm")
    if number == signal.SIGINT:
        check_interrupted(running)
        summaries = [read_object(path) for path in (folder / SWEEP).glob("0*/summary.json")]
        assert [of["status"] for of in summaries] == ["interrupted"] * 6
    else:
        assert running.kill() == 137
        assert len(jobs()) == 2
    resume(folder)
    check_none_is_left()
    check_bits(folder, local_sweep)
