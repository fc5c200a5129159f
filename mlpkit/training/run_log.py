"""Writes metrics.jsonl, train.log and film.bin; passes scores, plots and settings on to the run's loggers."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlpkit.config import nested
from mlpkit.config.config import Config
from mlpkit.config.logger import Logger, LoggerConfig, Probabilities, loggers_of
from mlpkit.config.model import Layer
from mlpkit.config.plugins import calling, described
from mlpkit.errors import ConfigError, TrackerError
from mlpkit.folders.film_file import FilmFile
from mlpkit.folders.metrics_file import OF_LAYER, Histogram, MetricsPosition, Record, lines_of
from mlpkit.folders.run_folder import RunFolder
from mlpkit.system.append_file import AppendFile
from mlpkit.system.console import note, printable
from mlpkit.training.layers import LayerReport

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
        warn: Callable[[str], None] = note,
        film: FilmFile | None = None,
    ) -> None:
        """Open the files.

        Args:
            folder: the run folder.
            loggers: names of the loggers.
            position: where to continue metrics.jsonl of a resumed run; None for a new run.
            step: the step that a run is resumed from. Loggers drop all scores from that step on, and get
                those that metrics.jsonl has kept of it again.
            warn: called once for each logger that the run goes on without.
            film: takes the frames; None without run.film.

        Raises:
            WriteError: a file cannot be opened.
        """
        self._metrics = AppendFile(folder.metrics, size=position.size if position else 0)
        self._text = AppendFile(folder.log, size=None if position else 0)
        self._warn, self._film, self._pending = warn, film, list[Record]()
        self._loggers: list[Logger] = []
        for config in loggers_of(loggers):
            with self._lenient():
                self._loggers.append(_open(config, folder.path, step if position else None))
        self._written = time.time()
        if position and position.latest and position.latest.step >= step:
            latest = replace(position.latest, wall_time=time.time())
            self._each(lambda logger: logger.scores(latest))

    def scores(
        self,
        epoch: int,
        step: int,
        scores: Mapping[str, Mapping[str, float]],
        seconds: float,
        wall_time: float,
        layers: LayerReport | None = None,
        **extra: float,
    ) -> None:
        """Log the scores of some splits after an epoch; `extra` (lr, grad_norm) is added to every line."""
        histograms: Mapping[str, Histogram] = {}
        if layers is not None:
            histograms = layers.histograms
            extra |= {f"{OF_LAYER}{name.replace('.', '_')}": norm for name, norm in layers.norms.items()}
        self._pending.append(Record(epoch, step, scores, seconds, extra, wall_time, histograms))
        if wall_time - self._written > WRITE_SECONDS:
            self.flush()

    def text(self, line: str) -> None:
        """Write a line of train.log."""
        self._text.write(f"{printable(line)}\n".encode())
        self._each(lambda logger: logger.text(line))

    def frame(self, epoch: int, weights: bytes) -> None:
        """Add a frame to the film, which must be asked for."""
        assert self._film is not None
        self._film.add(epoch, weights)

    def picture(self, step: int, path: Path) -> None:
        """Pass a plot to the loggers."""
        self._each(lambda logger: logger.picture(step, path))

    def config(self, config: Config, layers: Sequence[Layer]) -> None:
        """Pass the config and the model's layers to the loggers."""
        self._each(lambda logger: logger.config(config, layers))

    def probabilities(self, step: int, probabilities: Mapping[str, Probabilities]) -> None:
        """Pass a classifier's probabilities to the loggers, by class and split."""
        self._each(lambda logger: logger.probabilities(step, probabilities))

    def hparams(self, settings: Mapping[str, Any]) -> None:
        """Pass the settings to the loggers, with dotted keys."""
        flat = {
            key: value if isinstance(value, bool | int | float | str) else json.dumps(value)
            for key, value in nested.items(settings)
        }
        self._each(lambda logger: logger.hparams(flat))

    def flush(self) -> None:
        """Write all collected scores, without waiting for the disk.

        Raises:
            WriteError: a file cannot be written.
        """
        pending, self._pending, self._written = self._pending, [], time.time()
        if pending:
            self._metrics.write("".join(line for record in pending for line in lines_of(record)).encode())

        def log(logger: Logger) -> None:
            for record in pending:
                logger.scores(record)
            logger.flush()

        self._each(log)

    def sync(self) -> None:
        """Write all to the disk (fsync): the logs must be on disk before a checkpoint is.

        Raises:
            WriteError: a file cannot be written.
        """
        self.flush()
        self._metrics.sync()
        if self._film is not None:
            self._film.flush(to_disk=True)
        self._each(lambda logger: logger.sync())

    def close(self) -> None:
        """Write the collected scores and close the files.

        Raises:
            WriteError: a file cannot be written; all are closed even so.
        """
        with ExitStack() as closing:  # the last one first
            closing.callback(self._metrics.close)
            closing.callback(self._text.close)
            closing.callback(self._each, lambda logger: logger.close())
            if self._film is not None:
                closing.callback(self._film.flush)
            self.flush()

    def _each(self, call: Callable[[Logger], None]) -> None:
        """Call each logger, and go on without those that cannot be used any more."""
        for logger in tuple(self._loggers):
            with self._lenient(logger):
                call(logger)

    @contextmanager
    def _lenient(self, logger: Logger | None = None) -> Iterator[None]:
        """Turn a TrackerError into a warning, and leave out the logger that raised it."""
        try:
            yield
        except TrackerError as error:
            self._loggers = [each for each in self._loggers if each is not logger]
            line = f"warning: {error}"
            self.text(line)
            self._warn(line)


class NoLog(RunLog):
    """The log of a run with run.files=minimal, which keeps none."""

    def __init__(self) -> None:
        """Open nothing."""
        self._loggers, self._film = [], None

    def scores(self, *args: Any, **extra: Any) -> None:
        """Keep no scores."""

    def text(self, line: str) -> None:
        """Keep no line."""

    def flush(self) -> None:
        """Write nothing."""

    def sync(self) -> None:
        """Write nothing."""

    def close(self) -> None:
        """Close nothing."""


def _open(config: LoggerConfig, folder: Path, resumed_at: int | None) -> Logger:
    what = described("run.loggers", config)
    with calling(f"{what}: open", config):
        logger = config.open(folder, resumed_at)
    if not isinstance(logger, Logger):
        raise ConfigError(f"{what}: open returns {logger!r}; return a Logger")
    if type(logger).scores is Logger.scores:
        raise ConfigError(f"{what}: {type(logger).__name__}: define scores; see Logger")
    return logger
