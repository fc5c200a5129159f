"""The MLflow logger."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlpkit.config.logger import Logger, LoggerConfig
from mlpkit.config.registry import choice
from mlpkit.errors import MlpkitError, TrackerError, reason_of
from mlpkit.loggers.mlflow_store import MLflowStore, check_installed

if TYPE_CHECKING:
    from mlpkit.folders.metrics_file import Record
    from mlpkit.folders.run_folder import RunFolder
    from mlpkit.folders.tracked_run import Point

SECONDS = 10.0  # between two sendings of a run's newest scores

_LATER = "training goes on without it; later: mlpkit send RUN --to mlflow"

_failed: list[TrackerError] = []  # each other run of this process would wait for the same server


@choice("logger")
class MLflow(LoggerConfig):
    """MLflow, at MLFLOW_TRACKING_URI or in ./mlflow.db: settings, scores, pictures and the checkpoint."""

    name: Literal["mlflow"]

    def check(self) -> None:
        """See `LoggerConfig.check`."""
        check_installed("run.loggers=mlflow")

    def open(self, folder: Path, resumed_at: int | None) -> Logger:
        """See `LoggerConfig.open`; the run folder's id finds the MLflow run of a resumed run."""
        from mlpkit.folders.run_folder import RunFolder

        return _Sender(RunFolder(folder))


class _Sender(Logger):
    """Sends what the run folder holds when the run begins and when it ends; between, the newest scores."""

    def __init__(self, folder: "RunFolder") -> None:
        from mlpkit.folders.tracked_run import read_tracked

        self._folder, self._sent = folder, time.time()
        self._points = list["Point"]()
        with _as_warning():
            self._store = MLflowStore(None)
            self._run = self._store.open(read_tracked(folder, is_running=True))

    def scores(self, record: "Record") -> None:
        from mlpkit.folders.tracked_run import is_kept, points_of

        if is_kept(record.epoch):
            self._points += points_of(record)

    def flush(self) -> None:
        if self._points and time.time() - self._sent > SECONDS:
            with _as_warning():
                self._run.log(self._points)
            self._points, self._sent = [], time.time()

    def close(self) -> None:
        from mlpkit.folders.tracked_run import read_tracked

        with _as_warning():
            self._run.update(read_tracked(self._folder))


@contextmanager
def _as_warning() -> Iterator[None]:
    """Turn every error into one after which the run goes on, and do not try the server again."""
    if _failed:
        raise _failed[0]
    try:
        yield
    except (MlpkitError, OSError) as error:
        lenient = TrackerError(f"{reason_of(error)}; {_LATER}")
        if isinstance(error, TrackerError):
            _failed.append(lenient)
        raise lenient from error
