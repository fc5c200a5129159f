"""Gathers what a run's folder says: status, settings, scores, curves, messages; without data or torch."""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlpkit.analysis.diagnose import diagnose_run
from mlpkit.analysis.model_facts import Final, final_of, read_or_empty
from mlpkit.analysis.run_table import SPLITS
from mlpkit.config.config import Config
from mlpkit.data.input_schema import InputSchema
from mlpkit.errors import ConfigError, DataError
from mlpkit.folders.checkpoint import Checkpoint, read_header
from mlpkit.folders.fork import Fork, read_fork
from mlpkit.folders.labels import NO_LABELS, Labels
from mlpkit.folders.listed_run import ListedRun
from mlpkit.folders.listing import list_runs
from mlpkit.folders.metrics_file import read_metrics
from mlpkit.folders.results import read_config
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_record import read_commands, read_environment, read_summary
from mlpkit.models.architecture import architecture, count
from mlpkit.system.plain_json import regular_file

LARGEST_TEXT = 1 << 20  # bytes of train.log and command.txt that are read

_ROWS = re.compile(r"([0-9,]{1,20}) (train|val|test)\b")


@dataclass(frozen=True)
class AtEpoch:
    """Scores after an epoch, by split and name."""

    epoch: int
    scores: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class RunFacts:
    """What a run's folder says; what is not known is empty.

    Attributes:
        folder: the run folder.
        status: one of `mlpkit.folders.listed_run.STATUSES`.
        config: the config.
        error: why it failed or was interrupted.
        schema: of the model's inputs and outputs; None if nothing was saved.
        parameters: number of the model's parameters.
        sizes: rows of each split.
        seconds: training time.
        together: how many runs were trained in that time as one program.
        temperature: of the weights that it predicts with; 1: they are not calibrated.
        monitored: split and score by which the best epoch was chosen, such as "val accuracy".
        best: the scores of the best weights.
        last: the scores after the last epoch.
        final: intervals and a baseline; of a run that was trained alone.
        curves: the lines of metrics.jsonl.
        warnings: those in train.log, and what cannot be read in the folder.
        environment: the content of environment.json.
        labels: tags and note.
        fork: the run and the step at which it branches off.
        commands: the command lines that started and resumed it.
        findings: what its curves say, a sentence each.
    """

    folder: RunFolder
    status: str
    config: Config
    error: str = ""
    schema: InputSchema | None = None
    parameters: int | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    seconds: float | None = None
    together: int = 1
    temperature: float = 1.0
    monitored: str = ""
    best: AtEpoch | None = None
    last: AtEpoch | None = None
    final: Final | None = None
    curves: Sequence[dict[str, Any]] = ()
    warnings: Sequence[str] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    labels: Labels = NO_LABELS
    fork: Fork | None = None
    commands: Sequence[str] = ()
    findings: Sequence[str] = ()

    @property
    def plugins(self) -> list[str]:
        """The options that load the plug-ins it was trained with."""
        used = self.environment.get("plugins")
        paths = (
            [each.get("path") for each in used if isinstance(each, dict)] if isinstance(used, list) else []
        )
        return [f"--plugin={path}" for path in paths if isinstance(path, str)]

    def command(self, *words: str) -> str:
        """Return a command line of mlpkit, quoted for a shell, with the plug-ins that the run needs."""
        return shlex.join(["mlpkit", words[0], *self.plugins, *words[1:]])


def read_run(path: Path) -> RunFacts:
    """Return what a run's folder says. What is damaged is left out, and named in the warnings.

    Raises:
        DataError: its config cannot be read.
    """
    folder, problems = RunFolder(path), list[str]()
    config, header = read_config(folder), _header(folder, problems)
    listed = next((each for each in list_runs([path], problems.append) if isinstance(each, ListedRun)), None)
    summary = read_or_empty(read_summary, folder) if not folder.summary.is_symlink() else {}
    log = read_text(folder.log).splitlines()
    best, last = _scores(summary, header)
    schema = header.input_schema if header else None
    return RunFacts(
        folder=folder,
        status=listed.status if listed else "damaged",
        config=config,
        error=text if isinstance(text := summary.get("error"), str) else "",
        schema=schema,
        parameters=_parameters(config, schema),
        sizes=_sizes(log),
        seconds=_seconds(summary, header),
        together=many if isinstance(many := summary.get("runs_together"), int) else 1,
        temperature=_temperature(folder, header),
        monitored=_monitored(summary),
        best=best,
        last=last,
        final=final_of(summary),
        curves=_curves(folder, problems),
        warnings=[*(line for line in dict.fromkeys(log) if is_warning(line)), *problems],
        environment=read_or_empty(read_environment, folder),
        labels=listed.labels if listed else NO_LABELS,
        fork=read_fork(path),
        commands=read_text(folder.command).splitlines() or read_commands(folder),
        findings=_findings(path),
    )


def _findings(path: Path) -> list[str]:
    with suppress(DataError):  # the other parts say what is damaged
        return [str(finding) for finding in diagnose_run(path)]
    return []


def read_text(path: Path) -> str:
    """Return the end of a text in a folder that may be foreign; empty for a link, or if it cannot be read."""
    with suppress(DataError, OSError):
        regular_file(path)
        if not path.is_symlink():
            with path.open("rb") as stream:
                stream.seek(-min(LARGEST_TEXT, stream.seek(0, os.SEEK_END)), os.SEEK_END)
                return stream.read().decode(errors="replace")
    return ""


def is_warning(line: str) -> bool:
    """Whether a line of train.log is a warning."""
    return line.startswith("warning: ")


def _header(folder: RunFolder, problems: list[str], paths: Sequence[Path] = ()) -> Checkpoint | None:
    for path in paths or (folder.last, folder.best):
        if path.is_file() and not path.is_symlink() and not path.parent.is_symlink():
            try:
                return read_header(path)
            except DataError as error:
                problems.append(str(error))
    return None


def _temperature(folder: RunFolder, header: Checkpoint | None) -> float:
    if folder.best.is_file() and not folder.best.is_symlink():
        header = _header(folder, [], (folder.best,)) or header
    return header.temperature if header else 1.0


def _scores(summary: Mapping[str, Any], header: Checkpoint | None) -> tuple[AtEpoch | None, AtEpoch | None]:
    """Return the scores of the best and of the last epoch, from the summary or else the newest checkpoint."""
    about = summary.get("best")
    best = _at(about.get("epoch"), about) if isinstance(about, dict) else None
    last = _at(summary.get("epochs"), summary)
    if header is not None:
        progress = header.state.progress
        if best is None and progress.best_epoch:
            best = _at(progress.best_epoch, progress.best_scores)
        last = last or _at(progress.epoch, header.state.scores)
    return best, last


def _at(epoch: Any, by_split: Mapping[str, Any]) -> AtEpoch | None:
    """Return the scores of each split; None if there are none."""
    found = {}
    for split in SPLITS:
        scores = by_split.get(split)
        if isinstance(scores, dict):
            found[split] = {
                name: float(value) for name, value in scores.items() if isinstance(value, int | float)
            }
    return AtEpoch(epoch, found) if isinstance(epoch, int) and any(found.values()) else None


def _monitored(summary: Mapping[str, Any]) -> str:
    best = summary.get("best")
    known = (
        isinstance(best, dict) and isinstance(best.get("split"), str) and isinstance(best.get("score"), str)
    )
    return f"{best['split']} {best['score']}" if known and best else ""


def _seconds(summary: Mapping[str, Any], header: Checkpoint | None) -> float | None:
    seconds = summary.get("train_seconds")
    if isinstance(seconds, int | float) and 0 <= seconds < 1e12:
        return float(seconds)
    return header.state.progress.seconds if header else None


def _parameters(config: Config, schema: InputSchema | None) -> int | None:
    if schema is None:
        return None
    with suppress(ConfigError):
        return count(architecture(config, schema)) * config.model.networks
    return None


def _sizes(log: Sequence[str]) -> dict[str, int]:
    """Return the rows of each split, which the first line of train.log names after the last colon."""
    for line in log:
        if found := _ROWS.findall(line.rpartition(":")[2]):
            return {split: int(rows.replace(",", "")) for rows, split in found}
    return {}


def _curves(folder: RunFolder, problems: list[str]) -> list[dict[str, Any]]:
    if not folder.metrics.is_file() or folder.metrics.is_symlink():
        return []
    try:
        return read_metrics(folder.metrics)
    except DataError as error:
        problems.append(f"no curves: {error}")
        return []
