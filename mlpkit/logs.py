"""A run's records: metrics.jsonl, TensorBoard and train.log."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpkit.run_folder import RunFolder

if TYPE_CHECKING:
    from mlpkit.tensorboard import EventFile

FLUSH_SECONDS = 1.0  # how old a line on the disk may be

_TITLES = {"loss": "Loss", "accuracy": "Accuracy", "r2": "R2", "mae": "MAE", "rmse": "RMSE"}

Scores = Mapping[str, float]


class RunLog:
    """Writes what happens in a run; buffered, so that short epochs are not slowed."""

    def __init__(self, folder: RunFolder, tensorboard: bool) -> None:
        """Open the files."""
        self._metrics = folder.metrics.open("w", encoding="utf-8", buffering=1 << 16)
        self._text = folder.log.open("w", encoding="utf-8")
        self._events = _open_events(folder) if tensorboard else None
        self._flushed = time.monotonic()

    def scores(
        self, epoch: int, step: int, by_split: Mapping[str, Scores], seconds: float, **extra: float
    ) -> None:
        """Write the scores of some splits after an epoch; `extra` (lr, grad_norm) goes to every line."""
        for split, scores in by_split.items():
            line = {
                "epoch": epoch,
                "step": step,
                "split": split,
                **scores,
                **extra,
                "seconds": round(seconds, 6),
            }
            self._metrics.write(
                json.dumps({name: _json_number(value) for name, value in line.items()}) + "\n"
            )
        if self._events is not None:
            values = {
                _tag(name, split): v for split, scores in by_split.items() for name, v in scores.items()
            }
            self._events.scalars(step, {**values, **extra})
        now = time.monotonic()
        if now - self._flushed > FLUSH_SECONDS:
            self._flushed = now
            self.flush()

    def text(self, line: str) -> None:
        """Write a line of train.log."""
        self._text.write(line + "\n")
        self._text.flush()

    def picture(self, step: int, path: Path) -> None:
        """Show a picture in TensorBoard."""
        if self._events is not None:
            self._events.image(step, path.stem, path.read_bytes())

    def hparams(self, settings: Mapping[str, Any]) -> None:
        """Write the settings that TensorBoard's HPARAMS tab shows, keys joined by dots."""
        if self._events is not None:
            self._events.hparams(dict(_flat(settings)))

    def flush(self) -> None:
        """Hand all lines to the operating system."""
        self._metrics.flush()
        if self._events is not None:
            self._events.flush()

    def close(self) -> None:
        """Close the files."""
        self._metrics.close()
        self._text.close()
        if self._events is not None:
            self._events.close()


def _open_events(folder: RunFolder) -> "EventFile":
    from mlpkit.tensorboard import EventFile  # loads protobuf, which a run without TensorBoard does not need

    return EventFile(folder.tensorboard)


def _tag(score: str, split: str) -> str:
    """Return TensorBoard's tag of a score, as in `Loss/train`."""
    return f"{_TITLES.get(score, score)}/{split}"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def _json_number(value: object) -> object:
    """Return None for a number that JSON cannot say."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, bool | float | str]]:
    items: list[tuple[str, bool | float | str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            items += _flat(value, f"{prefix}{name}.")
        else:
            plain = value if isinstance(value, bool | int | float | str) else json.dumps(value)
            items.append((f"{prefix}{name}", plain))
    return items
