"""A run's records: metrics.jsonl and train.log, which are always written, and its loggers."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlpkit.config import nested, registry
from mlpkit.config.logger import Logger, LoggerConfig
from mlpkit.runs.metrics_file import MetricsPosition, Record, lines_of
from mlpkit.runs.run_folder import RunFolder
from mlpkit.system.append_file import AppendFile
from mlpkit.system.console import printable

WRITE_SECONDS = 1.0  # how old scores that are not on the disk may be


class RunLog:
    """Writes what happens in a run.

    Scores are kept for up to a second and then written together: between two short steps each line
    would find the processor's caches full of tensors, and cost four times as much.
    """

    def __init__(
        self, folder: RunFolder, loggers: Sequence[str], kept: MetricsPosition | None = None, step: int = 0
    ) -> None:
        """Open the files.

        Args:
            folder: of the run.
            loggers: the names of those that are told as well.
            kept: what remains of metrics.jsonl where the run goes on; None where it begins.
            step: the step from which it goes on. Loggers forget all from there on, and are told again
                what metrics.jsonl has kept of it.

        Raises:
            WriteError: one cannot be opened.
        """
        self._metrics = AppendFile(folder.metrics, size=kept.size if kept else 0)
        self._text = AppendFile(folder.log, size=None if kept else 0)
        self._loggers = [_open(name, folder.path, step if kept else None) for name in loggers]
        self._kept: list[Record] = []
        self._written = time.time()
        if kept and kept.latest and kept.latest.step >= step:
            for logger in self._loggers:
                logger.scores(replace(kept.latest, wall_time=time.time()))

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
        for logger in self._loggers:
            logger.text(line)

    def picture(self, step: int, path: Path) -> None:
        """Hand a picture to the loggers."""
        for logger in self._loggers:
            logger.picture(step, path)

    def hparams(self, settings: Mapping[str, Any]) -> None:
        """Hand the settings to the loggers, keys joined by dots."""
        flat = {
            key: value if isinstance(value, bool | int | float | str) else json.dumps(value)
            for key, value in nested.items(settings)
        }
        for logger in self._loggers:
            logger.hparams(flat)

    def flush(self) -> None:
        """Hand all that was taken to the operating system.

        Raises:
            WriteError: a file cannot be written.
        """
        kept, self._kept, self._written = self._kept, [], time.time()
        if kept:
            self._metrics.write("".join(line for record in kept for line in lines_of(record)).encode())
        for logger in self._loggers:
            for record in kept:
                logger.scores(record)
            logger.flush()

    def sync(self) -> None:
        """Flush all to the disk: a checkpoint must never be ahead of the records.

        Raises:
            WriteError: a file cannot be written.
        """
        self.flush()
        self._metrics.sync()
        for logger in self._loggers:
            logger.sync()

    def close(self) -> None:
        """Write what is left and close the files.

        Raises:
            WriteError: a file cannot be written; all are closed nevertheless.
        """
        try:
            self.flush()
        finally:
            files: list[AppendFile | Logger] = [self._metrics, self._text, *self._loggers]
            for file in files:
                file.close()


def _open(name: str, folder: Path, resumed_at: int | None) -> Logger:
    config = registry.choices("logger")[name].model_validate({"name": name})
    assert isinstance(config, LoggerConfig)
    return config.open(folder, resumed_at)
