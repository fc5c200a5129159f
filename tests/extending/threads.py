from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Literal

from mlpkit.config.launcher import Ended, LauncherConfig, Workers
from mlpkit.config.plugins import Parcel
from mlpkit.config.registry import choice
from mlpkit.sweeps.job_process import train_in_process


class Executor(Workers):
    def __init__(self, places: int) -> None:
        self.places, self._pool, self._is_wanted = places, ThreadPoolExecutor(places), True
        self._running: dict[Future[Any], int] = {}

    def submit(self, jobs: Mapping[int, Parcel]) -> None:
        for number, parcel in jobs.items():
            self._running[self._pool.submit(train_in_process, parcel, 1, lambda: self._is_wanted)] = number

    def collect(self, seconds: float) -> Ended:
        ended = wait(self._running, seconds, FIRST_COMPLETED).done
        return [(self._running.pop(future), future.result()) for future in ended]

    def stop(self) -> None:
        self._is_wanted = False

    close = stop


@choice("launcher")
class ThreadsLauncher(LauncherConfig):
    """Jobs by an executor of concurrent.futures; other libraries have executors that reach other machines."""

    name: Literal["threads"]
    workers: int = 2

    def open(self, folder: Path, runs: int) -> Workers:
        return Executor(self.workers)
