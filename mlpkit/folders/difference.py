"""The differences between two runs: settings, environment, data and scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlpkit.config.nested import items
from mlpkit.errors import DataError
from mlpkit.folders.checkpoint import read_header
from mlpkit.folders.results import RunResult, read_result
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_record import read_environment

MISSING = "-"  # a run does not have the key

Pair = tuple[Any, Any]


@dataclass(frozen=True)
class RunDifference:
    """What differs between two runs.

    Attributes:
        settings: dotted key → both values.
        environment: name → both values: versions, plug-ins, machine, git commit.
        data: both fingerprints; None if they are equal; empty for a run that does not store one.
        scores: split and score, as in `val accuracy` → both values at the best epoch, equal or not.
    """

    settings: Mapping[str, Pair]
    environment: Mapping[str, Pair]
    data: tuple[str, str] | None
    scores: Mapping[str, Pair]


def compare_runs(first: Path, second: Path) -> RunDifference:
    """Return the differences between two run folders, without reading tensors.

    Raises:
        DataError: a run folder is damaged.
    """
    results = read_result(first), read_result(second)
    data = _fingerprint(first), _fingerprint(second)
    return RunDifference(
        settings=_differing(results[0].settings, results[1].settings),
        environment=environment_difference(first, second),
        data=data if data[0] != data[1] else None,
        scores=_paired(_scores(results[0]), _scores(results[1])),
    )


def environment_difference(first: Path, second: Path) -> dict[str, Pair]:
    """Return what differs between the environments of two run folders: name → both values."""
    return _differing(_environment(first), _environment(second))


def _paired(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Pair]:
    return {key: (first.get(key, MISSING), second.get(key, MISSING)) for key in {**first, **second}}


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Pair]:
    return {key: pair for key, pair in _paired(first, second).items() if pair[0] != pair[1]}


def _environment(path: Path) -> dict[str, Any]:
    try:
        environment = dict(read_environment(RunFolder(path)))
    except DataError:
        return {}
    plugins = environment.pop("plugins", None)
    used = [each for each in plugins if isinstance(each, dict)] if isinstance(plugins, list) else []
    named = {f"plug-in {Path(str(each.get('path'))).name}": str(each.get("sha256"))[:12] for each in used}
    versions = {key.removeprefix("versions."): value for key, value in items(environment)}
    return {**versions, **named}


def _fingerprint(path: Path) -> str:
    for file in (RunFolder(path).last, RunFolder(path).best):
        if file.is_file() and not file.is_symlink():
            return read_header(file).fingerprint
    return ""


def _scores(result: RunResult) -> dict[str, float | None]:
    scores = result.best.all_scores() if result.best is not None else {}
    return {f"{split} {name}": value for (split, name), value in scores.items()}
