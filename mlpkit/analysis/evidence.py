"""What a diagnosis of a run is based on: its config, its curves, its status and faults of its network."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mlpkit.config.config import Config
from mlpkit.errors import DataError
from mlpkit.folders.checkpoint import read_header
from mlpkit.folders.metrics_file import read_metrics
from mlpkit.folders.results import RunResult, read_config, read_result
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_record import has_summary, read_summary

Points = Sequence[tuple[int, float]]  # (epoch, value)


@dataclass(frozen=True)
class NetworkFacts:
    """Faults of the last weights, found on all training rows.

    Attributes:
        dead: (name of a ReLU layer, number of units that are 0 on every row, number of all its units).
        never_predicted: the classes of training rows that are predicted for no row.
    """

    dead: tuple[tuple[str, int, int], ...] = ()
    never_predicted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Curve:
    """A value after each logged epoch.

    Attributes:
        points: (epoch, value), without epochs whose value was not finite.
    """

    points: Points

    @property
    def first(self) -> float:
        """The first value."""
        return self.points[0][1]

    @property
    def last(self) -> float:
        """The mean over the last tenth of the points."""
        return _mean(self.points[-self.tenth :])

    @property
    def tenth(self) -> int:
        """The number of points in a tenth, at least 1."""
        return max(1, len(self.points) // 10)

    @property
    def lowest(self) -> tuple[int, float]:
        """The lowest value, with its epoch."""
        return min(self.points, key=lambda point: point[1])

    def until(self, epoch: int) -> "Curve":
        """Return the part up to an epoch."""
        return Curve([point for point in self.points if point[0] <= epoch])

    @property
    def recently(self) -> str:
        """The epochs of `recent_fall`, in words."""
        if len(self.points) >= 10:
            return "in the last tenth of the epochs"
        return f"from epoch {self.points[-2][0]} to {self.points[-1][0]}" if len(self.points) > 1 else ""

    def recent_fall(self) -> float:
        """Return by how much the mean over the last tenth is below that over the tenth before."""
        before = self.points[-2 * self.tenth : -self.tenth]
        return _mean(before) - self.last if before else 0.0


@dataclass(frozen=True)
class Evidence:
    """All that is known about a run.

    Attributes:
        config: the run's config.
        result: status and best epoch.
        classes: the number of classes; 2 for several labels, 0 for a regression.
        lines: those of metrics.jsonl.
        error: why the run failed; empty if it did not.
        baseline: the constant prediction that is as good as the model; empty if none is, or if unknown.
        network: the network's faults, if they were looked for.
    """

    config: Config
    result: RunResult
    classes: int
    lines: Sequence[Mapping[str, Any]]
    error: str = ""
    baseline: str = ""
    network: NetworkFacts | None = None

    @cached_property
    def train(self) -> Curve:
        """The train loss; there may be no points."""
        return self.curve("loss")

    @cached_property
    def monitored(self) -> Curve:
        """The loss of the monitored split; the train loss if only train was scored after each epoch."""
        epochs = {line["epoch"] for line in self.lines if line["split"] == "train"}
        for split in ("val", "test"):
            found = self.curve("loss", split)
            if len(found.points) > len(epochs) // 2:  # test is scored only once where there is val
                return found
        return self.train

    def curve(self, name: str, split: str = "train") -> Curve:
        """Return a value of a split by epoch."""
        lines = (line for line in self.lines if line["split"] == split)
        return Curve([(line["epoch"], line[name]) for line in lines if line.get(name) is not None])

    @cached_property
    def scale(self) -> float:
        """About the loss of a constant prediction; a fall of the loss is judged in relation to it."""
        if self.classes:
            return math.log(self.classes)
        first = next((line for line in self.lines if line["split"] == "train" and line.get("r2")), None)
        if first is not None and self.config.loss.name in ("auto", "mse") and first["r2"] < 1:
            return float(first["loss"] / (1 - first["r2"])) or 1.0
        return abs(self.train.first) or 1.0

    @property
    def explains_nothing(self) -> bool:
        """Whether the train loss at the end is about that of a constant prediction."""
        return self.train.last > 0.95 * self.scale


def read_evidence(path: Path, network: NetworkFacts | None = None) -> Evidence:
    """Read the files of a run, finished or not; its weights are not read.

    Args:
        path: the run folder.
        network: the network's faults.

    Raises:
        DataError: a file is damaged.
    """
    folder = RunFolder(path)
    lines = read_metrics(folder.metrics) if folder.metrics.exists() else []
    classes = 0
    with suppress(DataError):  # a run that failed at once has no checkpoint
        schema = read_header(folder.last).input_schema
        classes = max(2, len(schema.classes)) if schema.task != "regression" else 0
    summary = read_summary(folder) if folder.summary.exists() or has_summary(folder) else {}
    config, result, error = read_config(folder), read_result(path), str(summary.get("error", ""))
    return Evidence(config, result, classes, lines, error, _unbeaten_baseline(summary), network)


def _unbeaten_baseline(summary: Mapping[str, Any]) -> str:
    """Return the constant prediction that is as good as the model on the final split; empty: none known."""
    try:
        final, best = summary["final"], summary["best"]
        name = "accuracy" if "accuracy" in final["baseline"] else "r2"
        is_beaten = best[final["split"]][name] > final["baseline"][name]
        return "" if final["weighted"] or is_beaten else str(final["baseline"]["name"])
    except (KeyError, TypeError):
        return ""


def _mean(points: Points) -> float:
    return math.fsum(value for _, value in points) / len(points)
