"""The examples of beyond-one-machine.md and data-parallel.md, on two machines, one of which is lost."""

import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from faults.launched import SWEEP, check_bits, sweep
from faults.machines import MISSING, Network
from faults.processes import LIMIT, RUN, start_fresh
from faults.runs import check_checkpoints, check_close
from faults.slurm import NEEDS_SLURM, Node, start_slurm
from mlpkit.folders.run_folder import RunFolder

ALONE = "outputs/alone"
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {' and '.join(MISSING)}"),
]
NEEDS_DASK = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs distributed")
NEEDS_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else Ray writes a token into the home folder
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    both = Network(tmp_path)
    yield both
    both.end()


def check_lost_machine(
    network: Network, local_sweep: Path, *options: str, meanwhile: Callable[[], object] = lambda: None
) -> None:
    """Begin a sweep on node1, lose node2 while both train, and check that the runs have the same bits.

    Args:
        network: of both.
        local_sweep: the same sweep in one process.
        options: of the launcher.
        meanwhile: called each second until the sweep has ended.
    """
    one, two = network.machines
    running = sweep(one.folder, *options, before=one.enter)
    assert {host_of(lock) for lock in one.folder.glob(f"{SWEEP}/0*/.lock")} == {"node1", "node2"}
    network.lose(two)
    deadline = time.monotonic() + 3 * LIMIT  # Ray notices it after some 100 seconds, Dask after 30
    while not running.ended_within(1):
        assert time.monotonic() < deadline, running.stderr()
        meanwhile()
    assert (running.wait(), running.stderr()) == (0, "")
    check_bits(one.folder, local_sweep)


def host_of(lock: Path) -> str:
    """Return the machine whose process trains a run, by the run's lock."""
    return lock.read_text().rpartition(" on ")[2].strip()


@NEEDS_DASK
def test_dask(network: Network, local_sweep: Path) -> None:
    address = "tcp://10.0.0.1:8786"
    network.machines[0].start(sys.executable, "-m", "dask", "scheduler")
    for machine in network.machines:
        machine.start(sys.executable, "-m", "dask", "worker", address, "--nworkers=1", "--nthreads=1")
    check_lost_machine(network, local_sweep, "--launcher=dask", f"--address={address}")


@NEEDS_RAY
def test_ray(network: Network, local_sweep: Path) -> None:
    one, two = network.machines
    ray = ("-m", "ray.scripts.scripts", "start", "--num-cpus=1", "--object-store-memory=80000000")
    one.say(sys.executable, *ray, "--head", "--port=6379")
    two.say(sys.executable, *ray, "--address=10.0.0.1:6379")
    check_lost_machine(network, local_sweep, "--launcher=ray", "--address=10.0.0.1:6379")


@pytest.fixture
def files_of_slurm() -> Iterator[Path]:
    """A folder with a short name, which is removed when the machines have ended."""
    with TemporaryDirectory(prefix="slurm-") as folder:
        yield Path(folder)


@NEEDS_SLURM
def test_slurm(
    files_of_slurm: Path, network: Network, local_sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        nodes = [Node(each.name, each.address, 1, each.enter) for each in network.machines]
        monkeypatch.setenv("SLURM_CONF", str(start_slurm(files_of_slurm, nodes, stack)))
        one = network.machines[0]

        def start_now() -> None:
            """Slurm lets a requeued job wait for two minutes."""
            for job in one.say("squeue", "--noheader", "--states=PENDING", "--format=%i").split():
                one.run("scontrol", "update", f"JobId={job}", "StartTime=now")

        check_lost_machine(network, local_sweep, "--launcher=slurm", meanwhile=start_now)


TABLE = (
    "run.plots=false", "run.progress=none", "dataset=table", "dataset.path=points.csv", "dataset.target=y",
    "model=mlp", "model.hidden=[16]", "trainer=mini_batch", "trainer.batch_size=35", "trainer.threads=1",
    "trainer.checkpoint_every=1000",
)  # fmt: skip


def torchrun(network: Network, epochs: int) -> subprocess.Popen[bytes]:
    """Train a run in one process, and start it in one on each machine; return that of node1."""
    one, two = network.machines
    x = np.linspace(-1, 1, 300)
    rows = (f"{a},{b},{a * b}" for a, b in zip(x, np.roll(x, 100), strict=True))
    (one.folder / "points.csv").write_text("a,b,y\n" + "\n".join(rows) + "\n")
    arguments = ("train", *TABLE, f"trainer.epochs={epochs}")
    alone = start_fresh(one.folder, *arguments, f"run.dir={ALONE}")
    assert alone.wait() == 0, alone.stderr()
    command = (
        sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1",
        "--master-addr=node1", "--master-port=29500",
    )  # fmt: skip
    two.start(*command, "--node-rank=1", "-m", "mlpkit", "train")
    return one.start(*command, "--node-rank=0", "-m", "mlpkit", *arguments, f"run.dir={RUN}")


def test_torchrun(network: Network, tmp_path: Path) -> None:
    first = torchrun(network, epochs=10)
    assert first.wait(LIMIT) == 0, network.machines[0].log.read_text()
    check_close(RunFolder(tmp_path / RUN), RunFolder(tmp_path / ALONE))


def test_torchrun_loses_a_machine(network: Network, tmp_path: Path) -> None:
    """Its system closes the connections; where nothing does, it takes five minutes."""
    (one, two), run = network.machines, RunFolder(tmp_path / RUN)
    first = torchrun(network, epochs=200)
    while not run.metrics.exists() or len(run.metrics.read_bytes()) < 1000:
        assert first.poll() is None, one.log.read_text()
    two.lose()
    assert first.wait(LIMIT) == 1
    said = one.log.read_text()
    assert "mlpkit: another process of the training has ended or does not answer; interrupted after" in said
    assert check_checkpoints(tmp_path, said)
    resumed = start_fresh(tmp_path, "resume", RUN, "trainer.processes=1")
    assert resumed.wait() == 0, resumed.stderr()
    check_close(run, RunFolder(tmp_path / ALONE), 1e-3)
