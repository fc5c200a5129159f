"""The TensorBoard logger."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlpkit.config.logger import Logger, LoggerConfig
from mlpkit.config.registry import choice

if TYPE_CHECKING:
    from mlpkit.folders.metrics_file import Record

_TITLES = {"loss": "Loss", "accuracy": "Accuracy", "r2": "R2", "mae": "MAE", "rmse": "RMSE"}


@choice("logger")
class TensorBoard(LoggerConfig):
    """TensorBoard's event files, with scores, pictures and settings."""

    name: Literal["tensorboard"]

    def open(self, folder: Path, resumed_at: int | None) -> Logger:
        """See `LoggerConfig.open`; TensorBoard drops the scores of step `resumed_at` and of later ones."""
        return _Events(folder / "tensorboard", resumed_at)


class _Events(Logger):
    def __init__(self, folder: Path, resumed_at: int | None) -> None:
        from mlpkit.system.event_file import EventFile  # loads protobuf

        self._file = EventFile(folder, resumed_at)

    def scores(self, record: "Record") -> None:
        tagged = {
            f"{_TITLES.get(name, name)}/{split}": value
            for split, scores in record.scores.items()
            for name, value in scores.items()
        }
        values = {**tagged, **record.extra}.items()
        finite = {name: value for name, value in values if value is not None}
        self._file.scalars(record.step, record.wall_time, finite)

    def picture(self, step: int, path: Path) -> None:
        self._file.image(step, path.stem, path.read_bytes())
        self._file.flush()

    def hparams(self, settings: Mapping[str, bool | float | str]) -> None:
        self._file.hparams(settings)

    def flush(self) -> None:
        self._file.flush()

    def sync(self) -> None:
        self._file.sync()

    def close(self) -> None:
        self._file.close()
