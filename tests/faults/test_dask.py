"""Sweeps on Dask: a scheduler and two workers on this machine, each of which is killed in the middle."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import content

from faults.processes import LIMIT, Running, start_fresh
from mlpkit.folders.run_folder import RunFolder

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs distributed"),
]

SWEEP = "outputs/sweep"
ARGUMENTS = (
    f"run.dir={SWEEP}", "run.progress=none", "dataset=moons", "dataset.n=60", "model.hidden=[4]",
    "optimizer.lr=0.01,0.05", "seed=range(3)", "trainer.epochs=8000", "trainer.checkpoint_every=2000",
    "run.tensorboard=false",
)  # fmt: skip
THREES = "--runs-per-job=3"


class Cluster:
    """A scheduler and two workers."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self.folder = folder
        self.start()

    def start(self) -> None:
        host, _, port = self.address.removeprefix("tcp://").rpartition(":")
        self.scheduler = self._run("dask_scheduler", f"--host={host}", f"--port={port}")
        self.workers = [
            self._run("dask_worker", self.address, "--nthreads=1", "--no-nanny") for _ in range(2)
        ]

    def kill(self) -> None:
        for process in (self.scheduler, *self.workers):
            process.kill()
            process.wait()

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        package = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        with (self.folder / "dask.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{program}", "--no-dashboard", *arguments],
                cwd=self.folder, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": path},
            )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of equal groups in one process, which nothing has stopped."""
    folder = tmp_path_factory.mktemp("whole")
    local = start_fresh(folder, "train", "-m", *ARGUMENTS, THREES)
    assert local.wait() == 0, local.stderr()
    return folder


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = Cluster(tmp_path)
    yield found
    found.kill()


def sweep(cluster: Cluster) -> Running:
    """Start the sweep, and wait until both of its jobs have saved once."""
    options = ("--launcher=dask", f"--address={cluster.address}", THREES)
    running = start_fresh(cluster.folder, "train", "-m", *ARGUMENTS, *options)
    while len(list((cluster.folder / SWEEP).glob("0*/checkpoints/last.safetensors"))) < 6:
        assert not running.ended_within(0.02), running.stderr()
    return running


def check(folder: Path, whole: Path) -> None:
    """Check that every run has the bits of the sweep in one process."""
    ours, theirs = (sorted((of / SWEEP).glob("0*-*")) for of in (folder, whole))
    assert [path.name for path in ours] == [path.name for path in theirs]
    for path, other in zip(map(RunFolder, ours), map(RunFolder, theirs), strict=True):
        assert content(path.last) == content(other.last)
        assert content(path.best) == content(other.best)


def test_a_worker_is_killed(cluster: Cluster, whole: Path) -> None:
    running = sweep(cluster)
    cluster.workers[0].kill()
    assert running.wait() == 0, running.stderr()
    check(cluster.folder, whole)


def test_the_scheduler_is_killed(cluster: Cluster, whole: Path) -> None:
    running = sweep(cluster)
    cluster.scheduler.kill()
    assert running.wait() == 74
    gone = f"--launcher=dask: the scheduler {cluster.address} is gone; its jobs save their runs and end"
    assert running.stderr() == f"mlpkit: {gone}\n"
    for process in (cluster.scheduler, *cluster.workers):
        process.wait(LIMIT)  # the workers end by themselves
    cluster.start()
    resumed = start_fresh(cluster.folder, "resume", SWEEP)
    assert resumed.wait() == 0, resumed.stderr()
    check(cluster.folder, whole)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_sweep_is_stopped(number: int, cluster: Cluster, whole: Path) -> None:
    running = sweep(cluster)
    running.send(number)
    assert running.wait() == 128 + number, running.stderr()
    way_on = f"mlpkit: interrupted: 0 of 6 runs are done; to go on: mlpkit resume {SWEEP}\n"
    assert running.stderr() == (way_on if number == signal.SIGINT else "")
    resumed = start_fresh(cluster.folder, "resume", SWEEP)
    assert resumed.wait() == 0, resumed.stderr()
    check(cluster.folder, whole)
