"""The TensorBoard logger."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlpkit.config.logger import Logger, LoggerConfig, Probabilities
from mlpkit.config.registry import choice

if TYPE_CHECKING:
    from mlpkit.config.config import Config
    from mlpkit.config.model import Layer
    from mlpkit.folders.metrics_file import Record
    from mlpkit.system.event_file import EventFile

TITLES = {"loss": "Loss", "accuracy": "Accuracy", "r2": "R2", "mae": "MAE", "rmse": "RMSE"}


@choice("logger")
class TensorBoard(LoggerConfig):
    """TensorBoard's event files, with scores, pictures and settings."""

    name: Literal["tensorboard"]

    def open(self, folder: Path, resumed_at: int | None) -> Logger:
        """See `LoggerConfig.open`; TensorBoard drops the scores of step `resumed_at` and of later ones."""
        from mlpkit.folders.run_folder import RunFolder
        from mlpkit.folders.run_name import events_folder, run_name
        from mlpkit.system.event_file import EventFile  # loads protobuf

        run, path = RunFolder(folder), folder.resolve()
        varies = run_name(run)
        name = f"{varies} ({path.parent.name})" if varies else path.name
        return _Events(EventFile(events_folder(run, varies), resumed_at), run.config, name)


def tag_of(score: str, split: str) -> str:
    """Return the tag of a score, as in Loss/train."""
    return f"{TITLES.get(score, score)}/{split}"


class _Events(Logger):
    def __init__(self, file: "EventFile", config: Path, name: str) -> None:
        self._file, self._config, self._name = file, config, name
        self._charts = set[str]()
        self._left_out: Record | None = None

    def config(self, config: "Config", layers: Sequence["Layer"]) -> None:
        from mlpkit.loggers.tensorboard_texts import config_text, graph_of
        from mlpkit.system.event_values import text_value

        written = self._config.read_text(encoding="utf-8") if self._config.exists() else ""
        self._file.values(0, [text_value("config", config_text(config, written))])
        self._file.graph(graph_of(layers))

    def scores(self, record: "Record") -> None:
        from mlpkit.folders.tracked_run import is_kept

        if not (is_kept(record.epoch) or record.histograms):
            self._left_out = record
            return
        self._write(record)

    def _write(self, record: "Record") -> None:
        self._left_out = None
        tagged = {
            tag_of(name, split): value
            for split, scores in record.scores.items()
            for name, value in scores.items()
        }
        values = {**tagged, **{_extra_tag(name): value for name, value in record.extra.items()}}.items()
        finite = {name: value for name, value in values if value is not None}
        self._file.scalars(record.step, record.wall_time, finite)
        if record.histograms:
            from mlpkit.system.event_values import histogram_value

            shown = record.histograms.items()
            self._file.values(
                record.step, [histogram_value(name, each.counts, each.edges) for name, each in shown]
            )
        if new := {name for scores in record.scores.values() for name in scores} - self._charts:
            self._charts |= new
            self._lay_out()

    def _lay_out(self) -> None:
        """Have the tab CUSTOM SCALARS show the splits of each score in one chart."""
        from mlpkit.system.event_values import layout_value

        charts = {TITLES.get(name, name): [tag_of(name, "(train|val|test)")] for name in sorted(self._charts)}
        self._file.values(0, [layout_value("Training and validation", charts)])

    def picture(self, step: int, path: Path) -> None:
        self._file.image(step, path.stem, path.read_bytes())
        self._file.flush()

    def probabilities(self, step: int, probabilities: Mapping[str, Probabilities]) -> None:
        from mlpkit.system.event_values import precision_recall_value

        curves = [
            precision_recall_value(name, each.values, each.positive) for name, each in probabilities.items()
        ]
        if curves:
            self._file.values(step, curves)

    def hparams(self, settings: Mapping[str, bool | float | str]) -> None:
        self._file.hparams(settings, self._name)

    def flush(self) -> None:
        self._file.flush()

    def sync(self) -> None:
        self._file.sync()

    def close(self) -> None:
        if self._left_out is not None:
            self._write(self._left_out)
        self._file.close()


def _extra_tag(name: str) -> str:
    """Return the tag of a learning rate or a gradient's norm; those by layer share a group of charts."""
    from mlpkit.folders.metrics_file import OF_LAYER

    return f"grad_norm_by_layer/{name.removeprefix(OF_LAYER)}" if name.startswith(OF_LAYER) else name
