"""A run's records: metrics.jsonl, TensorBoard and train.log."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpkit.config import nested
from mlpkit.files.append_file import AppendFile
from mlpkit.runs.metrics_file import Kept, Record, lines_of
from mlpkit.runs.run_folder import RunFolder
from mlpkit.system.console import printable

if TYPE_CHECKING:
    from mlpkit.loggers.tensorboard import EventFile

WRITE_SECONDS = 1.0  # how old scores that are not on the disk may be

_TITLES = {"loss": "Loss", "accuracy": "Accuracy", "r2": "R2", "mae": "MAE", "rmse": "RMSE"}


class RunLog:
    """Writes what happens in a run.

    Scores are kept for up to a second and then written together: between two short steps each line
    would find the processor's caches full of tensors, and cost four times as much.
    """

    def __init__(self, folder: RunFolder, tensorboard: bool, kept: Kept | None = None, step: int = 0) -> None:
        """Open the files.

        Args:
            folder: of the run.
            tensorboard: write event files.
            kept: what remains of metrics.jsonl where the run goes on; None where it begins.
            step: the step from which it goes on. TensorBoard forgets all from there on, and is told
                again what metrics.jsonl has kept of it.

        Raises:
            WriteError: one cannot be opened.
        """
        self._metrics = AppendFile(folder.metrics, size=kept.size if kept else 0)
        self._text = AppendFile(folder.log, size=None if kept else 0)
        self._events = _open_events(folder, step if kept else None) if tensorboard else None
        self._kept: list[Record] = []
        self._written = time.time()
        if kept and kept.latest and kept.latest.step >= step and self._events is not None:
            self._events.scalars(kept.latest.step, time.time(), _tagged(kept.latest))

    def scores(
        self,
        epoch: int,
        step: int,
        scores: Mapping[str, Mapping[str, float]],
        seconds: float,
        wall_time: float,
        **extra: float,
    ) -> None:
        """Take the scores of some splits after an epoch; `extra` (lr, grad_norm) goes to every line."""
        self._kept.append(Record(epoch, step, scores, seconds, extra, wall_time))
        if wall_time - self._written > WRITE_SECONDS:
            self.flush()

    def text(self, line: str) -> None:
        """Write a line of train.log."""
        self._text.write(f"{printable(line)}\n".encode())

    def picture(self, step: int, path: Path) -> None:
        """Show a picture in TensorBoard."""
        if self._events is not None:
            self._events.image(step, path.stem, path.read_bytes())
            self._events.flush()

    def hparams(self, settings: Mapping[str, Any]) -> None:
        """Write the settings that TensorBoard's HPARAMS tab shows, keys joined by dots."""
        if self._events is not None:
            self._events.hparams(
                {
                    key: value if isinstance(value, bool | int | float | str) else json.dumps(value)
                    for key, value in nested.items(settings)
                }
            )

    def flush(self) -> None:
        """Hand all that was taken to the operating system.

        Raises:
            WriteError: a file cannot be written.
        """
        kept, self._kept, self._written = self._kept, [], time.time()
        if kept:
            self._metrics.write("".join(line for record in kept for line in lines_of(record)).encode())
        if self._events is not None:
            for record in kept:
                self._events.scalars(record.step, record.wall_time, _tagged(record))
            self._events.flush()

    def sync(self) -> None:
        """Flush all to the disk: a checkpoint must never be ahead of the records.

        Raises:
            WriteError: a file cannot be written.
        """
        self.flush()
        for file in (self._metrics, self._events):
            if file is not None:
                file.sync()

    def close(self) -> None:
        """Write what is left and close the files.

        Raises:
            WriteError: a file cannot be written; all are closed nevertheless.
        """
        try:
            self.flush()
        finally:
            for file in (self._metrics, self._text, self._events):
                if file is not None:
                    file.close()


def _tagged(record: Record) -> dict[str, float]:
    """Return all finite values by TensorBoard's tag, as in `Loss/train`."""
    tagged = {
        f"{_TITLES.get(name, name)}/{split}": value
        for split, scores in record.scores.items()
        for name, value in scores.items()
    }
    return {name: value for name, value in {**tagged, **record.extra}.items() if value is not None}


def _open_events(folder: RunFolder, purge_from: int | None) -> "EventFile":
    from mlpkit.loggers.tensorboard import (
        EventFile,  # loads protobuf, which a run without TensorBoard does not need
    )

    return EventFile(folder.tensorboard, purge_from)
