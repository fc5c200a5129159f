"""Writes metrics.jsonl and train.log, and passes scores, plots and settings on to the run's loggers."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlpkit.config import nested, registry
from mlpkit.config.logger import Logger, LoggerConfig
from mlpkit.config.plugins import calling, described
from mlpkit.errors import ConfigError
from mlpkit.runs.metrics_file import MetricsPosition, Record, lines_of
from mlpkit.runs.run_folder import RunFolder
from mlpkit.system.append_file import AppendFile
from mlpkit.system.console import printable

WRITE_SECONDS = 1.0  # scores are written after this time at the latest


class RunLog:
    """Writes a run's scores and log lines.

    Scores are collected for up to a second and then written together: a line written between two short steps
    takes four times as long, since the CPU caches are full of tensors.
    """

    def __init__(
        self,
        folder: RunFolder,
        loggers: Sequence[str],
        position: MetricsPosition | None = None,
        step: int = 0,
    ) -> None:
        """Open the files.

        Args:
            folder: the run folder.
            loggers: names of the loggers.
            position: where to continue metrics.jsonl of a resumed run; None for a new run.
            step: the step that a run is resumed from. Loggers drop all scores from that step on, and get
                those that metrics.jsonl has kept of it again.

        Raises:
            WriteError: a file cannot be opened.
        """
        self._metrics = AppendFile(folder.metrics, size=position.size if position else 0)
        self._text = AppendFile(folder.log, size=None if position else 0)
        self._loggers = [_open(name, folder.path, step if position else None) for name in loggers]
        self._pending: list[Record] = []
        self._written = time.time()
        if position and position.latest and position.latest.step >= step:
            for logger in self._loggers:
                logger.scores(replace(position.latest, wall_time=time.time()))

    def scores(
        self,
        epoch: int,
        step: int,
        scores: Mapping[str, Mapping[str, float]],
        seconds: float,
        wall_time: float,
        **extra: float,
    ) -> None:
        """Log the scores of some splits after an epoch; `extra` (lr, grad_norm) is added to every line."""
        self._pending.append(Record(epoch, step, scores, seconds, extra, wall_time))
        if wall_time - self._written > WRITE_SECONDS:
            self.flush()

    def text(self, line: str) -> None:
        """Write a line of train.log."""
        self._text.write(f"{printable(line)}\n".encode())
        for logger in self._loggers:
            logger.text(line)

    def picture(self, step: int, path: Path) -> None:
        """Pass a plot to the loggers."""
        for logger in self._loggers:
            logger.picture(step, path)

    def hparams(self, settings: Mapping[str, Any]) -> None:
        """Pass the settings to the loggers, with dotted keys."""
        flat = {
            key: value if isinstance(value, bool | int | float | str) else json.dumps(value)
            for key, value in nested.items(settings)
        }
        for logger in self._loggers:
            logger.hparams(flat)

    def flush(self) -> None:
        """Write all collected scores, without waiting for the disk.

        Raises:
            WriteError: a file cannot be written.
        """
        pending, self._pending, self._written = self._pending, [], time.time()
        if pending:
            self._metrics.write("".join(line for record in pending for line in lines_of(record)).encode())
        for logger in self._loggers:
            for record in pending:
                logger.scores(record)
            logger.flush()

    def sync(self) -> None:
        """Write all to the disk (fsync): the logs must be on disk before a checkpoint is.

        Raises:
            WriteError: a file cannot be written.
        """
        self.flush()
        self._metrics.sync()
        for logger in self._loggers:
            logger.sync()

    def close(self) -> None:
        """Write the collected scores and close the files.

        Raises:
            WriteError: a file cannot be written; all are closed even so.
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
    what = described("run.loggers", config)
    with calling(f"{what}: open", config):
        logger = config.open(folder, resumed_at)
    if not isinstance(logger, Logger):
        raise ConfigError(f"{what}: open returns {logger!r}; return a Logger")
    return logger
