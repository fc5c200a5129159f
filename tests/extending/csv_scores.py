"""A logger that writes scores.csv into the run folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlpkit.config.logger import Logger, LoggerConfig
from mlpkit.config.registry import choice

if TYPE_CHECKING:
    from mlpkit.folders.metrics_file import Record


class CsvScores(Logger):
    """Writes a line for each epoch and score; lines from a resumed step on are dropped."""

    def __init__(self, path: Path, resumed_at: int | None) -> None:
        old = path.read_text().splitlines() if resumed_at and path.exists() else ["step,split,name,value"]
        self.file = path.open("w", buffering=1)
        for line in [old[0], *(line for line in old[1:] if int(line.split(",")[0]) < (resumed_at or 0))]:
            print(line, file=self.file)

    def scores(self, record: "Record") -> None:
        for split, scores in record.scores.items():
            for name, value in scores.items():
                print(record.step, split, name, value, sep=",", file=self.file)

    def close(self) -> None:
        self.file.close()


@choice("logger")
class CsvScoresConfig(LoggerConfig):
    """scores.csv in the run folder."""

    name: Literal["csv"]

    def open(self, folder: Path, resumed_at: int | None) -> Logger:
        return CsvScores(folder / "scores.csv", resumed_at)
