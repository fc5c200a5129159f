"""Base classes of loggers, which receive the scores of a run while it trains.

metrics.jsonl and train.log are written for every run, whichever loggers are chosen.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mlpkit.config import registry
from mlpkit.config.section import Section

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mlpkit.config.config import Config
    from mlpkit.config.model import Layer
    from mlpkit.folders.metrics_file import Record


@dataclass(frozen=True)
class Probabilities:
    """The probabilities (rows,) of rows to be of a class, and whether they are (rows,)."""

    values: "NDArray[np.float64]"
    positive: "NDArray[np.bool_]"


class Logger:
    """Logs one run. A subclass must define `scores`; the other methods do nothing by default.

    A method may raise `TrackerError`: the run goes on without the logger, with one warning. A `WriteError`
    ends the run, and the run saves a checkpoint.
    """

    def scores(self, record: "Record") -> None:
        """Log the scores of an epoch. Called up to thousands of times a second if epochs are short."""
        raise NotImplementedError(f"{type(self).__name__} has no scores")

    def text(self, line: str) -> None:
        """Log a line of train.log."""

    def picture(self, step: int, path: Path) -> None:
        """Log a picture, a PNG file of the run."""

    def config(self, config: "Config", layers: Sequence["Layer"]) -> None:
        """Log the config and the model's layers; called once, when the run begins or is resumed."""

    def probabilities(self, step: int, probabilities: Mapping[str, Probabilities]) -> None:
        """Log a classifier's probabilities, by class and split; called at the end of the run."""

    def hparams(self, settings: Mapping[str, bool | float | str]) -> None:
        """Log the run's settings by dotted key; called at the end of the run."""

    def flush(self) -> None:
        """Write everything logged so far to the file; called about once a second."""

    def sync(self) -> None:
        """Flush the file to the disk. Called before a checkpoint, which must not be ahead of the log."""

    def close(self) -> None:
        """Write everything left, and close all files."""


class LoggerConfig(Section):
    """A logger's options. A new one defines a name and `open`."""

    to_define: ClassVar[tuple[str, ...]] = ("open",)
    name: str

    def check(self) -> None:
        """Check what can be checked before a run or a sweep begins, such as that a package is installed.

        Raises:
            ConfigError: the logger cannot be used.
        """

    def open(self, folder: Path, resumed_at: int | None) -> Logger:
        """Open the logger for a run.

        Args:
            folder: the run folder; the logger may create files or a folder in it.
            resumed_at: the step at which the run resumes: discard what was logged for this and later steps.
                None for a new run.

        Raises:
            TrackerError: see `Logger`.
            WriteError: a file cannot be opened.
        """
        raise NotImplementedError(f"run.loggers={self.name} has no open")


def loggers_of(names: Iterable[str]) -> list[LoggerConfig]:
    """Return the loggers that run.loggers names, checked.

    Raises:
        ConfigError: see `LoggerConfig.check`.
    """
    found = []
    for name in names:
        config = registry.choices("logger")[name].model_validate({"name": name})
        assert isinstance(config, LoggerConfig)
        config.check()
        found.append(config)
    return found
