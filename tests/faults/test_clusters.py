"""Sweeps on Dask and on Ray: two workers on this machine, one of which is lost in the middle."""

import importlib.util
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults.clusters import Cluster, DaskCluster, RayCluster
from faults.launched import ARGUMENTS, SWEEP, check_bits, resume, sweep
from faults.processes import LIMIT, start_fresh

Start = Callable[[type[Cluster]], Cluster]
GOING_ON = "its jobs save their runs and end; go on with mlpkit resume"
NEEDS_DASK = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs distributed")
NEEDS_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")
pytestmark = pytest.mark.long


@pytest.fixture(
    params=[pytest.param(DaskCluster, marks=NEEDS_DASK), pytest.param(RayCluster, marks=NEEDS_RAY)]
)
def cluster(request: pytest.FixtureRequest, start: Start) -> Cluster:
    return start(request.param)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else Ray writes a token into the home folder
    started: list[Cluster] = []

    def start_cluster(kind: type[Cluster]) -> Cluster:
        started.append(kind(tmp_path))
        return started[-1]

    yield start_cluster
    for each in started:
        each.end()


def test_a_worker_is_lost(cluster: Cluster, local_sweep: Path) -> None:
    running = sweep(cluster.folder, *cluster.options)
    cluster.lose_a_worker()
    assert (running.wait(), running.stderr()) == (0, "")
    check_bits(cluster.folder, local_sweep)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_sweep_is_stopped(number: int, cluster: Cluster, local_sweep: Path) -> None:
    running = sweep(cluster.folder, *cluster.options)
    running.send(number)
    assert running.wait() == 128 + number, running.stderr()
    way_on = f"mlpkit: interrupted: 0 of 6 runs are done; to go on: mlpkit resume {SWEEP}\n"
    assert running.stderr() == (way_on if number == signal.SIGINT else "")
    resume(cluster.folder)
    check_bits(cluster.folder, local_sweep)


@pytest.fixture
def dask(start: Start) -> DaskCluster:
    found = start(DaskCluster)
    assert isinstance(found, DaskCluster)
    return found


@NEEDS_DASK
def test_the_scheduler_of_dask_is_killed(dask: DaskCluster, local_sweep: Path) -> None:
    running = sweep(dask.folder, *dask.options)
    dask.scheduler.kill()
    assert running.wait() == 74
    gone = f"--launcher=dask: the scheduler {dask.address} is gone; {GOING_ON}"
    assert running.stderr() == f"mlpkit: {gone}\n"
    for process in (dask.scheduler, *dask.workers):
        process.wait(LIMIT)  # the workers end by themselves
    dask.start()
    resume(dask.folder)
    check_bits(dask.folder, local_sweep)


@NEEDS_RAY
def test_the_head_of_ray_is_killed(start: Start, local_sweep: Path) -> None:
    ray = start(RayCluster)
    assert isinstance(ray, RayCluster)
    running = sweep(ray.folder, *ray.options)
    ray.lose_the_head()
    assert running.wait() == 74
    gone = f"mlpkit: --launcher=ray: the head {ray.address} is gone; {GOING_ON}"
    assert running.stderr().splitlines()[-1] == gone  # Ray may say more before
    ray.end()
    refused = start_fresh(ray.folder, "resume", SWEEP)
    assert refused.wait() == 2
    no_head = f"mlpkit: --address={ray.address}: no head of Ray answers; start one: ray start --head"
    assert refused.stderr() == f"{no_head}\n"
    ray.start()
    resume(ray.folder)
    check_bits(ray.folder, local_sweep)


@NEEDS_DASK
def test_a_worker_has_another_mlpkit(dask: DaskCluster) -> None:
    other = dask.folder / "other" / "mlpkit-9.9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: mlpkit\nVersion: 9.9.9\n")
    dask.add_worker(path=str(other.parent))
    assert " has mlpkit 9.9.9, and this is " in refusal(dask)


@NEEDS_DASK
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare, a program of Linux")
def test_a_worker_has_another_folder_of_that_name(dask: DaskCluster) -> None:
    (dask.folder / "outputs").mkdir()
    hidden = f'mount -t tmpfs none {dask.folder / "outputs"} && exec "$@"'
    dask.add_worker(before=("unshare", "--mount", "sh", "-c", hidden, "sh"))
    place = dask.folder / SWEEP
    shared = "set run.root to a folder that all workers share under the same path"
    assert f" cannot write into {place} (No such file or directory); {shared}" in refusal(dask)


def refusal(dask: DaskCluster) -> str:
    """Return the one line of a sweep that is refused once the third worker is there."""
    from distributed import Client

    with Client(dask.address) as client:
        client.wait_for_workers(3, timeout=LIMIT)
    refused = start_fresh(dask.folder, "train", "-m", *ARGUMENTS, *dask.options)
    assert refused.wait() == 2
    assert refused.stderr().startswith("mlpkit: --launcher=dask: worker tcp://")
    assert refused.stderr().count("\n") == 1
    assert not list((dask.folder / SWEEP).iterdir())
    return refused.stderr()


@NEEDS_DASK
@pytest.mark.parametrize("answer", ["HTTP/1.1 400 Bad Request\r\n\r\n", ""])
def test_another_program_is_at_the_address(answer: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        sweep = start_fresh(tmp_path, "train", "-m", *ARGUMENTS, "--launcher=dask", f"--address={address}")
        server.settimeout(LIMIT)
        connection, _ = server.accept()
        with connection:
            connection.sendall(answer.encode() * 100)
            assert sweep.wait() == 2
    none = "answers (another program does)" if answer else "has answered within 10 seconds"
    assert sweep.stderr() == (
        f"mlpkit: --address={address}: no scheduler of Dask {none}; start one: dask scheduler\n"
    )
    assert not list((tmp_path / SWEEP).iterdir())


@NEEDS_DASK
def test_a_sweep_is_interrupted_before_it_begins(tmp_path: Path) -> None:
    """Nothing is left of it: neither a folder, nor a file that another sweep would meet."""
    words = [word for word in ARGUMENTS if not word.startswith("run.dir=")]
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(LIMIT)
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        sweep = start_fresh(tmp_path, "train", "-m", *words, "--launcher=dask", f"--address={address}")
        connection, _ = server.accept()
        with connection:
            sweep.send(signal.SIGINT)
            assert sweep.wait() == 130
    assert sweep.stderr() == "mlpkit: interrupted\n"
    assert not list(tmp_path.glob("outputs/*/*"))
