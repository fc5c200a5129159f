"""Clusters of Dask and of Ray, with two workers on this machine."""

import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path

from serving import free_port

from faults.processes import LIMIT

PACKAGE = str(Path(__file__).parents[2])


class Cluster(ABC):
    """A cluster with two places for jobs.

    Attributes:
        launcher: its name.
        folder: working directory of its processes, and of the sweep.
        address: what the sweep connects to.
    """

    launcher: str
    address: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start()

    @property
    def options(self) -> tuple[str, str]:
        return f"--launcher={self.launcher}", f"--address={self.address}"

    @abstractmethod
    def start(self) -> None:
        """Start all its processes."""

    @abstractmethod
    def lose_a_worker(self) -> None:
        """Kill a worker, or the whole node that it is on."""

    @abstractmethod
    def end(self) -> None:
        """End what is left of it."""


class DaskCluster(Cluster):
    """A scheduler and two workers."""

    launcher = "dask"

    def start(self) -> None:
        if not hasattr(self, "address"):
            self.address = f"tcp://127.0.0.1:{free_port()}"
        host, _, port = self.address.removeprefix("tcp://").rpartition(":")
        self.scheduler = self._run("dask_scheduler", f"--host={host}", f"--port={port}")
        self.workers: list[subprocess.Popen[bytes]] = []
        for _ in range(2):
            self.add_worker()

    def add_worker(self, before: tuple[str, ...] = (), path: str = "") -> None:
        """Start a worker by another command, or with another folder of packages before the others."""
        arguments = (self.address, "--nthreads=1", "--no-nanny")
        self.workers.append(self._run("dask_worker", *arguments, before=before, path=path))

    def lose_a_worker(self) -> None:
        self.workers[0].kill()

    def end(self) -> None:
        for process in (self.scheduler, *self.workers):
            process.kill()
            process.wait()

    def _run(
        self, program: str, *arguments: str, before: tuple[str, ...] = (), path: str = ""
    ) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join(filter(None, (path, PACKAGE, os.environ.get("PYTHONPATH"))))
        with (self.folder / "dask.log").open("ab") as log:
            return subprocess.Popen(
                [*before, sys.executable, "-m", f"distributed.cli.{program}", "--no-dashboard", *arguments],
                cwd=self.folder, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": paths},
            )  # fmt: skip


# In a process of its own, since Ray puts handlers of signals and of the exit into the one that imports it.
NODES = """
import sys
from ray.cluster_utils import Cluster

head = {"gcs_server_port": int(sys.argv[1])}
small = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=head | small)
node = cluster.add_node(**small)
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(node if line == "worker\\n" else cluster.head_node, allow_graceful=False)
    print("killed", flush=True)
cluster.shutdown()
"""


class RayCluster(Cluster):
    """A head and one node more, each for one job."""

    launcher = "ray"

    def start(self) -> None:
        port = self.address.rpartition(":")[2] if hasattr(self, "address") else str(free_port())
        with (self.folder / "ray.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", NODES, port], cwd=self.folder, text=True, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
            )  # fmt: skip
        self.address = self._line()

    def lose_a_worker(self) -> None:
        self._lose("worker")

    def lose_the_head(self) -> None:
        self._lose("head")

    def end(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=LIMIT)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _lose(self, node: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{node}\n")
        self._process.stdin.flush()
        assert self._line() == "killed"

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, (self.folder / "ray.log").read_text()
        return line
