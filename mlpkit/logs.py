"""A run's records: metrics.jsonl, TensorBoard and train.log."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpkit import nested
from mlpkit.errors import WriteError
from mlpkit.plain_json import to_json
from mlpkit.run_folder import RunFolder

if TYPE_CHECKING:
    from mlpkit.tensorboard import EventFile

WRITE_SECONDS = 1.0  # how old scores that are not on the disk may be

_TITLES = {"loss": "Loss", "accuracy": "Accuracy", "r2": "R2", "mae": "MAE", "rmse": "RMSE"}


@dataclass(frozen=True)
class Record:
    """Scores at one time.

    Attributes:
        epoch: epochs done.
        step: optimizer steps done.
        scores: by split, then by name.
        seconds: time since training began.
        extra: what belongs to no split, such as lr.
        wall_time: seconds since 1970.
    """

    epoch: int
    step: int
    scores: Mapping[str, Mapping[str, float]]
    seconds: float
    extra: Mapping[str, float]
    wall_time: float


class RunLog:
    """Writes what happens in a run.

    Scores are kept for up to a second and then written together: between two short steps each line
    would find the processor's caches full of tensors, and cost four times as much.
    """

    def __init__(self, folder: RunFolder, tensorboard: bool) -> None:
        """Open the files."""
        self._folder = folder.path
        with self._writing():
            self._metrics = folder.metrics.open("w", encoding="utf-8")
            self._text = folder.log.open("w", encoding="utf-8")
            self._events = _open_events(folder) if tensorboard else None
        self._kept: list[Record] = []
        self._written = time.time()

    def scores(
        self, epoch: int, step: int, scores: Mapping[str, Mapping[str, float]], seconds: float, **extra: float
    ) -> None:
        """Take the scores of some splits after an epoch; `extra` (lr, grad_norm) goes to every line."""
        now = time.time()
        self._kept.append(Record(epoch, step, scores, seconds, extra, now))
        if now - self._written > WRITE_SECONDS:
            self.flush()

    def text(self, line: str) -> None:
        """Write a line of train.log."""
        with self._writing():
            self._text.write(line + "\n")
            self._text.flush()

    def picture(self, step: int, path: Path) -> None:
        """Show a picture in TensorBoard."""
        if self._events is not None:
            with self._writing():
                self._events.image(step, path.stem, path.read_bytes())

    def hparams(self, settings: Mapping[str, Any]) -> None:
        """Write the settings that TensorBoard's HPARAMS tab shows, keys joined by dots."""
        if self._events is not None:
            plain = {
                key: value if isinstance(value, bool | int | float | str) else json.dumps(value)
                for key, value in nested.items(settings)
            }
            with self._writing():
                self._events.hparams(plain)

    def flush(self) -> None:
        """Hand all that was taken to the operating system.

        Raises:
            WriteError: a file cannot be written.
        """
        kept, self._kept, self._written = self._kept, [], time.time()
        with self._writing():
            for record in kept:
                self._metrics.writelines(_lines(record))
            self._metrics.flush()
            if self._events is not None:
                for record in kept:
                    self._events.scalars(record.step, record.wall_time, _tagged(record))
                self._events.flush()

    def close(self) -> None:
        """Write what is left and close the files."""
        self.flush()
        for file in (self._metrics, self._text, self._events):
            if file is not None:
                file.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise WriteError(f"{self._folder}: cannot write the logs ({error.strerror or error})") from None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def _lines(record: Record) -> Iterator[str]:
    place = {"epoch": record.epoch, "step": record.step}
    for split, scores in record.scores.items():
        seconds = round(record.seconds, 6)
        yield to_json({**place, "split": split, **scores, **record.extra, "seconds": seconds}) + "\n"


def _tagged(record: Record) -> dict[str, float]:
    """Return all scores by TensorBoard's tag, as in `Loss/train`."""
    tagged = {
        f"{_TITLES.get(name, name)}/{split}": value
        for split, scores in record.scores.items()
        for name, value in scores.items()
    }
    return {**tagged, **record.extra}


def _open_events(folder: RunFolder) -> "EventFile":
    from mlpkit.tensorboard import EventFile  # loads protobuf, which a run without TensorBoard does not need

    return EventFile(folder.tensorboard)
