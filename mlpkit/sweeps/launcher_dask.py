"""The launcher that gives each job to a worker of Dask."""

import logging
import secrets
import warnings
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from mlpkit.config.launcher import Ended, JobResult, LauncherConfig, LostJob, Workers
from mlpkit.config.plugins import Parcel
from mlpkit.config.registry import choice
from mlpkit.config.section import Count
from mlpkit.errors import ConfigError, MlpkitError, WriteError
from mlpkit.sweeps.shared_folder import check_answers, write_probe

LOGGERS = ("distributed", "distributed.client", "distributed.core", "distributed.comm.tcp", "tornado")
CONNECT_SECONDS = 30.0  # to reach the scheduler, and for a first worker


@choice("launcher")
class DaskLauncher(LauncherConfig):
    """Workers of Dask: those of the scheduler at --address, or one of this process."""

    name: Literal["dask"]
    address: str | None = None
    workers: Count | None = None

    def check(self) -> None:
        """See `LauncherConfig.check`."""
        try:
            import distributed  # noqa: F401
        except ImportError:
            raise ConfigError("--launcher=dask: needs distributed; pip install 'mlpkit[dask]'") from None
        if self.address is not None and self.workers is not None:
            raise ConfigError(
                f"--workers={self.workers}: the scheduler at --address has its own; leave out one"
            )

    def open(self, folder: Path, runs: int) -> Workers:
        """See `LauncherConfig.open`."""
        from distributed import Client, LocalCluster

        from mlpkit.system.device import cores

        for name in LOGGERS:  # what ends the sweep is told in one line
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            if self.address is None:
                places = min(self.workers or cores(), runs)
                # Its worker is in this process: each job has a process of its own, wherever its worker is.
                cluster = LocalCluster(
                    n_workers=1, threads_per_worker=places, processes=False, dashboard_address=None
                )
                client = Client(cluster)
            else:
                with warnings.catch_warnings():  # versions of packages that mlpkit sends nothing of
                    warnings.simplefilter("ignore")
                    client = Client(self.address, timeout=CONNECT_SECONDS)
        except (OSError, TimeoutError, ValueError) as error:
            at = "" if self.address is None else f" --address={self.address}"
            raise ConfigError(f"--launcher=dask{at}: no scheduler answers ({type(error).__name__})") from None
        workers = Dask(client, self.address)
        try:
            workers.check(folder.absolute())
        except BaseException:
            workers.close()
            raise
        return workers


class Dask(Workers):
    """The workers of a Dask scheduler; those that join later get jobs too."""

    has_queue = True

    def __init__(self, client: Any, address: str | None) -> None:
        """Take a connected client of `distributed`."""
        self._client, self._address = client, address
        self._session = secrets.token_hex(8)  # so that no key of another sweep is the same
        self._running: dict[int, Any] = {}  # futures by job number
        self._threads = 1
        self._stopped = False

    def check(self, folder: Path) -> None:
        """Check that there are workers, and that each has this mlpkit and the sweep's folder.

        Raises:
            ConfigError: there is none, or one lacks something.
            WriteError: the folder cannot be written.
        """
        from mlpkit.sweeps.shared_folder import make_probe

        with suppress(TimeoutError):
            self._client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        with write_probe(folder) as probe:
            answers = self._client.run(make_probe(str(probe)), on_error="return")
            if not answers:
                raise ConfigError(f"--launcher=dask: no workers; start some: dask worker {self._address}")
            check_answers("--launcher=dask", answers, probe, version("mlpkit"))
        jobs_at = {worker: jobs for worker, jobs in self._client.nthreads().items() if worker in answers}
        self.places = sum(jobs_at.values())
        hosts: dict[str, list[str]] = {}
        for worker in jobs_at:
            hosts.setdefault(worker.rpartition(":")[0], []).append(worker)
        self._threads = max(
            1, min(answers[of[0]]["cores"] // sum(jobs_at[each] for each in of) for of in hosts.values())
        )

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
            raise WriteError(f"--launcher=dask: the scheduler {at} is gone; its jobs save their runs and end")
        ended = [number for number, future in self._running.items() if future.done()]
        return [(number, _result(self._running.pop(number))) for number in ended]

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


def _result(future: Any) -> JobResult | LostJob:
    from distributed import KilledWorker

    if future.status in ("cancelled", "lost"):
        return LostJob("was cancelled")
    error = future.exception()
    if error is None:
        ended: JobResult | LostJob = future.result()
        return ended
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
