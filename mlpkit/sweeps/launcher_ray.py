"""The launcher that gives each job to Ray, as a task of Ray Core."""

import logging
import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from errno import EMFILE, ENFILE
from typing import Any, Literal

from mlpkit.config.launcher import Ended, JobResult, LostJob
from mlpkit.config.plugins import Parcel
from mlpkit.config.registry import choice
from mlpkit.errors import ConfigError, MlpkitError
from mlpkit.sweeps.cluster import ClusterConfig, ClusterWorkers, Probe, gone

QUIET: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": "CRITICAL"}
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray would report to its makers
    # A node that has lost its power or its network is noticed after 75 + 20 seconds, not after 300 + 120.
    # Not below a minute: Ray's servers close a connection whose client asks more often.
    "RAY_grpc_client_keepalive_time_ms": "75000",
    "RAY_grpc_client_keepalive_timeout_ms": "20000",
}
PROBE_SECONDS = 120.0  # in which each node starts a process and answers
HEAD_SECONDS = 2.0  # in which the head accepts a connection, and between two looks at it
TRIES = 3  # that fail, one after another, where the head is lost
RETRIES = 3  # how often a job whose node is lost begins in another one


@choice("launcher")
class RayLauncher(ClusterConfig):
    """Nodes of Ray: those of the cluster at --address, or this machine. A job takes one of their CPUs."""

    package = "ray"
    name: Literal["ray"]

    def connect(self, runs: int) -> "Ray":
        """See `ClusterConfig.connect`."""
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        import ray

        from mlpkit.system.device import cores

        logging.getLogger("ray").setLevel(logging.CRITICAL)  # what ends the sweep is told in one line
        with _same_signal_handlers():
            if self.address is None:
                ray.init(
                    "local", num_cpus=min(self.workers or cores(), runs), include_dashboard=False, **QUIET
                )
            else:
                if ":" not in self.address and self.address != "auto":
                    raise ConfigError(f"--address={self.address}: must be as in HOST:6379")
                if not _accepts(self.address):  # Ray itself tries for minutes
                    raise ConfigError(
                        f"--address={self.address}: no head of Ray answers; start one: ray start --head"
                    )
                ray.init(self.address, **QUIET)
        is_client = self.address is not None and self.address.startswith("ray://")
        return Ray(str(self.address) if is_client else ray.get_runtime_context().gcs_address)


class Ray(ClusterWorkers):
    """The nodes that this process is connected with; those that join later get jobs too."""

    def __init__(self, head: str) -> None:
        """Count the CPUs of the nodes of a head."""
        import ray

        self.places = max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._head, self._looked, self._failed = head, time.monotonic(), 0
        self._train = ray.remote(num_cpus=1, max_retries=RETRIES)(_train)
        self._running: dict[Any, int] = {}  # job numbers by Ray's references

    def answers(self, probe: Probe) -> Mapping[str, Any]:
        """See `ClusterWorkers.answers`."""
        import ray

        ask = ray.remote(num_cpus=0, max_retries=0)(probe)
        nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
        asked = {node: ask.options(scheduling_strategy=_on(node)).remote() for node in nodes}
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=PROBE_SECONDS)
        return {f"{nodes[node]} ({node[:8]})": _answer(reference) for node, reference in asked.items()}

    def submit(self, jobs: Mapping[int, Parcel]) -> None:
        """See `Workers.submit`; a job whose node is lost goes on in another one."""
        for number, parcel in jobs.items():
            self._running[self._train.remote(parcel)] = number

    def collect(self, seconds: float) -> Ended:
        """See `Workers.collect`."""
        import ray

        ended, _ = ray.wait(list(self._running), timeout=seconds)
        if not ended:
            self._look_at_head()
        return [(self._running.pop(reference), _result(reference)) for reference in ended]

    def _look_at_head(self) -> None:
        """Check now and then that the head is there: without it, Ray ends this process after a minute."""
        if time.monotonic() - self._looked < HEAD_SECONDS:
            return
        self._failed = 0 if _accepts(self._head) else self._failed + 1
        self._looked = time.monotonic()
        if self._failed == TRIES:
            raise gone(f"--launcher=ray: the head {self._head}")

    def stop(self) -> None:
        """See `Workers.stop`; Ray interrupts a job's task, which asks the job to end and waits for it."""
        import ray

        for reference in self._running:
            ray.cancel(reference)

    def close(self) -> None:
        """See `Workers.close`."""
        import ray

        with suppress(Exception):
            ray.shutdown()


def _accepts(address: str) -> bool:
    """Return whether a process listens at HOST:PORT; True for anything else, which Ray knows."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal() or (":" in host and not host.startswith("[")):
        return True
    try:
        with socket.create_connection((host.strip("[]"), int(port)), HEAD_SECONDS):
            return True
    except OSError as error:
        return error.errno in (EMFILE, ENFILE)  # this process cannot tell: too many files are open
    except OverflowError:  # no such port
        return False


def _on(node: str) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node, soft=False)


def _answer(reference: Any) -> Any:
    """Return what a node answers, or the error."""
    import ray

    try:
        return ray.get(reference, timeout=1)
    except Exception as error:
        return error


def _result(reference: Any) -> JobResult | LostJob:
    import ray
    from ray.exceptions import RayError, RayTaskError, TaskCancelledError

    try:
        ended: JobResult | LostJob = ray.get(reference)
    except TaskCancelledError:
        return LostJob("was cancelled")
    except RayTaskError as error:
        return JobResult(refused=MlpkitError(str(error).strip().splitlines()[-1]))
    except RayError as error:
        return LostJob(f"was lost several times ({type(error).__name__})")
    return ended


@contextmanager
def _same_signal_handlers() -> Iterator[None]:
    """Keep mlpkit's handlers of signals, in whose place Ray puts its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ----------------------------------------------------------------------------------------- in a worker


def _train(parcel: Parcel) -> JobResult | LostJob:
    """Train a job. Ray interrupts a task that is cancelled, and kills those of a sweep that has ended."""
    from mlpkit.sweeps.job_process import train_in_process

    return train_in_process(parcel, 1, lambda: True)
