"""What a logger is: it gets the scores of a run while it trains, beside the run's own files.

metrics.jsonl and train.log are always written, and are no choice.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mlpkit.config.section import Section

if TYPE_CHECKING:
    from mlpkit.runs.metrics_file import Record


class Logger:
    """Writes what happens in a run. Only `scores` must be there; the other methods do nothing by themselves.

    A method may raise `WriteError`, which ends the run; what was trained until then has been saved.
    """

    def scores(self, record: "Record") -> None:
        """Take the scores of some splits after an epoch; short epochs may come by the thousand a second."""
        raise NotImplementedError(f"{type(self).__name__} has no scores")

    def text(self, line: str) -> None:
        """Take a line of train.log."""

    def picture(self, step: int, path: Path) -> None:
        """Take a picture, a PNG file of the run."""

    def hparams(self, settings: Mapping[str, bool | float | str]) -> None:
        """Take the run's settings at its end, keys joined by dots."""

    def flush(self) -> None:
        """Hand all that was taken to the operating system; called about once a second."""

    def sync(self) -> None:
        """Flush all to the disk: a checkpoint must never be ahead of the records."""

    def close(self) -> None:
        """Write what is left, and close all files."""


class LoggerConfig(Section):
    """A logger's name, and how it is opened."""

    name: str

    def open(self, folder: Path, resumed_at: int | None) -> Logger:
        """Return the logger of a run.

        Args:
            folder: of the run, in which the logger may make files or a folder of its own.
            resumed_at: the step from which the run goes on. What was logged of it and of later steps is
                void. None where the run begins.

        Raises:
            WriteError: a file cannot be opened.
        """
        raise NotImplementedError(f"run.loggers={self.name} has no open")
