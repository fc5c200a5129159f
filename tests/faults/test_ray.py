"""Sweeps on Ray: two nodes on this machine, one of which is killed in the middle."""

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from faults.launched import SWEEP, check_bits, resume, sweep
from faults.processes import LIMIT, Running

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray"),
]

# In a process of its own, since Ray puts handlers of signals and of the exit into the one that imports it.
NODES = """
import sys
from ray.cluster_utils import Cluster

small = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=small)
node = cluster.add_node(**small)
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(node, allow_graceful=False)
    print("killed", flush=True)
cluster.shutdown()
"""


class Nodes:
    """A head and one node more, each for one job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with (folder / "ray.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", NODES], cwd=folder, text=True, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
            )  # fmt: skip
        self.address = self._line()

    def kill_one(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("kill\n")
        self._process.stdin.flush()
        assert self._line() == "killed"

    def end(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=LIMIT)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, (self.folder / "ray.log").read_text()
        return line


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else it writes a token into the home folder
    found = Nodes(tmp_path)
    yield found
    found.end()


def begin(nodes: Nodes) -> Running:
    return sweep(nodes.folder, "--launcher=ray", f"--address={nodes.address}")


def test_a_node_is_killed(nodes: Nodes, local_sweep: Path) -> None:
    running = begin(nodes)
    nodes.kill_one()
    assert (running.wait(), running.stderr()) == (0, "")
    check_bits(nodes.folder, local_sweep)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_sweep_is_stopped(number: int, nodes: Nodes, local_sweep: Path) -> None:
    running = begin(nodes)
    running.send(number)
    assert running.wait() == 128 + number, running.stderr()
    way_on = f"mlpkit: interrupted: 0 of 6 runs are done; to go on: mlpkit resume {SWEEP}\n"
    assert running.stderr() == (way_on if number == signal.SIGINT else "")
    resume(nodes.folder)
    check_bits(nodes.folder, local_sweep)
