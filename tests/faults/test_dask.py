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

from faults.launched import SWEEP, check_bits, resume, sweep
from faults.processes import LIMIT, Running

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs distributed"),
]


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


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = Cluster(tmp_path)
    yield found
    found.kill()


def begin(cluster: Cluster) -> Running:
    return sweep(cluster.folder, "--launcher=dask", f"--address={cluster.address}")


def test_a_worker_is_killed(cluster: Cluster, local_sweep: Path) -> None:
    running = begin(cluster)
    cluster.workers[0].kill()
    assert running.wait() == 0, running.stderr()
    check_bits(cluster.folder, local_sweep)


def test_the_scheduler_is_killed(cluster: Cluster, local_sweep: Path) -> None:
    running = begin(cluster)
    cluster.scheduler.kill()
    assert running.wait() == 74
    gone = f"--launcher=dask: the scheduler {cluster.address} is gone; its jobs save their runs and end"
    assert running.stderr() == f"mlpkit: {gone}\n"
    for process in (cluster.scheduler, *cluster.workers):
        process.wait(LIMIT)  # the workers end by themselves
    cluster.start()
    resume(cluster.folder)
    check_bits(cluster.folder, local_sweep)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_sweep_is_stopped(number: int, cluster: Cluster, local_sweep: Path) -> None:
    running = begin(cluster)
    running.send(number)
    assert running.wait() == 128 + number, running.stderr()
    way_on = f"mlpkit: interrupted: 0 of 6 runs are done; to go on: mlpkit resume {SWEEP}\n"
    assert running.stderr() == (way_on if number == signal.SIGINT else "")
    resume(cluster.folder)
    check_bits(cluster.folder, local_sweep)
