"""The launcher that gives each job to a worker of Dask."""

import asyncio
import logging
import secrets
import warnings
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal

from mlpkit.config.launcher import Ended, JobResult, LostJob
from mlpkit.config.plugins import Parcel
from mlpkit.config.registry import choice
from mlpkit.errors import ConfigError, MlpkitError, reason_of
from mlpkit.sweeps.cluster import ClusterConfig, ClusterWorkers, Probe, gone
from mlpkit.system.console import note

LOGGERS = ("distributed", "distributed.client", "distributed.core", "distributed.comm.tcp", "tornado")
CONNECT_SECONDS = 30.0  # to connect with the scheduler, and for a first worker
HERE_ALONE = "127.0.0.1:0"  # any port for its web pages, which other machines cannot read
FETCH_SECONDS = 30.0  # to fetch a result from its worker
GREET_SECONDS = 10.0  # to find out whether there is one


@choice("launcher")
class DaskLauncher(ClusterConfig):
    """Workers of Dask: those of the scheduler at --address, or one of this process."""

    package = "distributed"
    name: Literal["dask"]

    def connect(self, runs: int) -> "Dask":
        """See `ClusterConfig.connect`."""
        from distributed import Client, LocalCluster

        from mlpkit.system.device import cores

        for name in LOGGERS:  # what ends the sweep is told in one line
            logging.getLogger(name).setLevel(logging.CRITICAL)
        if self.address is None:
            places = min(self.workers or cores(), runs)
            # Its worker is in this process: each job has a process of its own, wherever its worker is.
            cluster = LocalCluster(
                n_workers=1, threads_per_worker=places, processes=False,
                dashboard_address=HERE_ALONE, worker_dashboard_address=HERE_ALONE,
            )  # fmt: skip
            return Dask(Client(cluster), None)
        try:
            asyncio.run(_greet(self.address))
        except TimeoutError:
            raise ConfigError(
                f"--address={self.address}: no scheduler of Dask has answered within "
                f"{GREET_SECONDS:.0f} seconds; start one: dask scheduler"
            ) from None
        except ValueError:
            raise ConfigError(f"--address={self.address}: must be as in tcp://HOST:8786") from None
        except Exception as error:  # what another program sends may raise anything
            is_told = isinstance(error, OSError | TypeError)  # a TypeError: TLS has no certificates
            why = reason_of(error) if is_told else "another program does"
            raise ConfigError(
                f"--address={self.address}: no scheduler of Dask answers ({why}); start one: dask scheduler"
            ) from None
        with warnings.catch_warnings():  # versions of packages that mlpkit sends nothing of
            warnings.simplefilter("ignore")
            return Dask(Client(self.address, timeout=CONNECT_SECONDS), self.address)


class Dask(ClusterWorkers):
    """The workers of a Dask scheduler; those that join later get jobs too."""

    def __init__(self, client: Any, address: str | None) -> None:
        """Take a connected client of `distributed`."""
        self._client, self._address = client, address
        self._session = secrets.token_hex(8)  # so that no key of another sweep is the same
        self._running: dict[int, Any] = {}  # futures by job number
        self._threads = 1
        self._stopped = False

    def answers(self, probe: Probe) -> Mapping[str, Any]:
        """See `ClusterWorkers.answers`; also counts the jobs at a time, and the threads of each."""
        if not self._client.nthreads():
            until = f"waiting up to {CONNECT_SECONDS:.0f} seconds for a worker"
            note(f"{until}; to start one: dask worker {self._address}")
        with suppress(TimeoutError):
            self._client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        found: dict[str, Any] = self._client.run(probe, on_error="return")
        if not found:
            raise ConfigError(f"--launcher=dask: no workers; start some: dask worker {self._address}")
        jobs_at = {worker: jobs for worker, jobs in self._client.nthreads().items() if worker in found}
        self.places = sum(jobs_at.values())
        jobs_on: Counter[str] = Counter()  # of each host
        for worker, jobs in jobs_at.items():
            jobs_on[_host(worker)] += jobs
        cores = {_host(of): each["cores"] for of, each in found.items() if isinstance(each, dict)}
        self._threads = max(1, min(cores[host] // jobs_on[host] for host in cores)) if cores else 1
        return found

    def submit(self, jobs: Mapping[int, Parcel]) -> None:
        """See `Workers.submit`; a job whose worker is lost goes on in another one."""
        for number, parcel in jobs.items():
            key = f"mlpkit-{self._session}-{number}"
            self._running[number] = self._client.submit(_train, parcel, self._threads, key=key, pure=False)

    def collect(self, seconds: float) -> Ended:
        """See `Workers.collect`."""
        from distributed import wait
        from distributed.client import CancelledError

        with suppress(TimeoutError, CancelledError):
            wait(list(self._running.values()), seconds, return_when="FIRST_COMPLETED")
        lost = any(future.status in ("cancelled", "lost") for future in self._running.values())
        if self._client.status != "running" or (lost and not self._stopped):
            at = self._address or "on this machine"
            raise gone(f"--launcher=dask: the scheduler {at}")
        done = {number: future for number, future in self._running.items() if future.done()}
        ended = [(number, result) for number, future in done.items() if (result := _result(future))]
        for number, _ in ended:
            del self._running[number]
        return ended

    def stop(self) -> None:
        """See `Workers.stop`; a job sees that it is cancelled."""
        self._stopped = True
        self._client.cancel(list(self._running.values()), force=True)

    def close(self) -> None:
        """See `Workers.close`."""
        with suppress(Exception):
            self._client.close(timeout=5)
        if (cluster := getattr(self._client, "cluster", None)) is not None:
            with suppress(Exception):
                cluster.close(timeout=30)


async def _greet(address: str) -> None:
    """Shake hands with the scheduler. `Client` would do it without a limit of time."""
    from distributed.comm import connect
    from distributed.security import Security

    async with asyncio.timeout(GREET_SECONDS):
        comm = await connect(address, GREET_SECONDS, **Security().get_connection_args("client"))
    comm.abort()


def _host(worker: str) -> str:
    return worker.rpartition(":")[0]


def _result(future: Any) -> JobResult | LostJob | None:
    """Return how a job has ended; None if the result is lost with its worker, and Dask begins it again."""
    from distributed import KilledWorker
    from distributed.client import CancelledError

    if future.status in ("cancelled", "lost"):
        return LostJob("was cancelled")
    try:
        if (error := future.exception(timeout=FETCH_SECONDS)) is None:
            ended: JobResult | LostJob = future.result(timeout=FETCH_SECONDS)
            return ended
    except (TimeoutError, CancelledError):  # `collect` finds out why
        return None
    if isinstance(error, KilledWorker):
        return LostJob("has ended several workers")
    return JobResult(refused=MlpkitError(f"{type(error).__name__}: {error}".splitlines()[0]))


# ----------------------------------------------------------------------------------------- in a worker


def _train(parcel: Parcel, threads: int) -> JobResult | LostJob:
    """Train a job while the scheduler wants it: it forgets the jobs of a sweep whose process has ended."""
    from distributed.core import Status
    from distributed.worker import get_worker, thread_state

    from mlpkit.sweeps.job_process import train_in_process

    worker, key = get_worker(), thread_state.key

    def is_wanted() -> bool:
        task = worker.state.tasks.get(key)
        is_alive = worker.status in (Status.running, Status.paused)
        return is_alive and task is not None and task.state in ("executing", "long-running")

    return train_in_process(parcel, threads, is_wanted)
