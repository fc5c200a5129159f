"""Launchers whose workers are on other machines, and the check that these can train the sweep's runs."""

import importlib.util
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from mlpkit.config.launcher import LauncherConfig, Workers
from mlpkit.config.section import Count
from mlpkit.errors import ConfigError, WriteError, reason_of
from mlpkit.system.failed_write import failed_write

Probe = Callable[[], dict[str, Any]]


class ClusterWorkers(Workers):
    """The workers of a cluster, which has a queue of its own. A subclass defines `answers` too."""

    has_queue = True

    def answers(self, probe: Probe) -> Mapping[str, Any]:
        """Call a function on each worker; return what it has returned or raised, by worker.

        Raises:
            ConfigError: there is no worker.
        """
        raise NotImplementedError(f"{type(self).__name__} has no answers")


def gone(what: str) -> WriteError:
    """Return the error for a lost scheduler or head; `what` names the launcher and the process."""
    return WriteError(f"{what} is gone; its jobs save their runs and end; go on with mlpkit resume")


class ClusterConfig(LauncherConfig):
    """A launcher with the cluster at --address, or one of this machine. A subclass defines `connect`.

    Attributes:
        package: the package to import, which the extra with the launcher's name installs.
        address: of a scheduler or a head node; None to start one on this machine.
        workers: number of jobs at a time without an address.
    """

    package: ClassVar[str]
    address: str | None = None
    workers: Count | None = None

    def check(self) -> None:
        """See `LauncherConfig.check`."""
        if importlib.util.find_spec(self.package) is None:
            raise ConfigError(
                f"--launcher={self.name}: needs {self.package}; pip install 'mlpkit[{self.name}]'"
            )
        if self.address is not None and self.workers is not None:
            raise ConfigError(
                f"--workers={self.workers}: the cluster at --address has its own workers; leave out one"
            )

    def open(self, folder: Path, runs: int) -> Workers:
        """See `LauncherConfig.open`; each worker must have this mlpkit and the sweep's folder."""
        try:
            workers = self.connect(runs)
            try:
                check_workers(f"--launcher={self.name}", folder.absolute(), workers.answers)
            except BaseException:
                workers.close()
                raise
        except (OSError, RuntimeError, ValueError) as error:
            at = "" if self.address is None else f" --address={self.address}"
            raise ConfigError(f"--launcher={self.name}{at}: cannot connect ({reason_of(error)})") from None
        return workers

    def connect(self, runs: int) -> ClusterWorkers:
        """Return the workers, for a number of runs.

        Raises:
            OSError, RuntimeError, ValueError: there is no cluster at the address.
        """
        raise NotImplementedError(f"--launcher={self.name} has no connect")


def check_workers(launcher: str, folder: Path, ask: Callable[[Probe], Mapping[str, Any]]) -> None:
    """Check that each worker has this version of mlpkit, and can write into the sweep's folder.

    Args:
        launcher: the option, for the error.
        folder: the sweep's folder.
        ask: calls a function on each worker; returns what it has returned or raised, by worker.

    Raises:
        ConfigError: a worker lacks something.
        WriteError: the folder cannot be written.
    """
    with _shared_file(folder) as place:
        for worker, answer in ask(_make_probe(str(place))).items():
            if problem := _problem(answer, place, version("mlpkit")):
                raise ConfigError(f"{launcher}: worker {worker} {problem}")


@contextmanager
def _shared_file(folder: Path) -> Iterator[Path]:
    """Make a folder with a file that only this sweep knows; it is removed after the block."""
    probe = folder / f".probe-{secrets.token_hex(8)}"
    try:
        probe.mkdir()
        (probe / "sweep").write_text(probe.name)
    except OSError as error:
        raise failed_write(probe, error) from None
    try:
        yield probe
    finally:
        with suppress(OSError):
            for file in probe.iterdir():
                file.unlink()
            probe.rmdir()


def _make_probe(path: str) -> Probe:
    """Return a function for a worker, where mlpkit may be missing: so it is made here, and sent as it is.

    The function returns the worker's version of mlpkit, its number of cores, and the name of the file that it
    has written, or why it could not.
    """

    def probe() -> dict[str, Any]:
        import os
        import uuid
        from importlib.metadata import PackageNotFoundError, version
        from pathlib import Path

        found: dict[str, Any] = {"version": None, "cores": os.cpu_count() or 1, "file": None, "error": ""}
        try:
            found["version"] = version("mlpkit")
            if hasattr(os, "sched_getaffinity"):
                found["cores"] = len(os.sched_getaffinity(0))
            text, answer = (Path(path) / "sweep").read_text(), uuid.uuid4().hex
            (Path(path) / answer).write_text(text)
            found["file"] = answer
        except PackageNotFoundError:
            pass
        except OSError as error:
            found["error"] = error.strerror or type(error).__name__
        return found

    return probe


def _problem(answer: Any, place: Path, wanted: str) -> str:
    """Return what a worker lacks that has answered this; empty if nothing."""
    if isinstance(answer, BaseException):
        return f"cannot answer ({reason_of(answer)})"
    if answer["version"] is None:
        return f"has no mlpkit; install {wanted} there"
    if answer["version"] != wanted:
        return f"has mlpkit {answer['version']}, and this is {wanted}; install the same"
    shared = "set run.root to a folder that all workers share under the same path"
    if answer["file"] is None:
        return f"cannot write into {place.parent} ({answer['error']}); {shared}"
    with suppress(OSError):
        if (place / answer["file"]).read_text() == place.name:
            return ""
    return f"has another folder {place.parent}; {shared}"
