"""A run's summary, environment and command lines: in files of their own, or in the run's only file.

`run.files=minimal` leaves one file of a finished run: its newest checkpoint. The part `record` of its header
is JSON as text, since the header sorts keys; it has `summary`, `environment` and `commands`. A run that has
failed, or is resumed, has a config.yaml, and its summary is in summary.json.
"""

import json
import os
from pathlib import Path
from typing import Any

from mlpkit.errors import DataError
from mlpkit.folders.header import read_header_parts
from mlpkit.folders.run_folder import RunFolder
from mlpkit.system.plain_json import is_deep, read_object
from mlpkit.system.tensor_file import SUFFIX

RECORD, SUMMARY, ENVIRONMENT, COMMANDS = "record", "summary", "environment", "commands"


def read_summary(folder: RunFolder) -> dict[str, Any]:
    """Return a run's summary.

    Raises:
        DataError: the run has none, as long as it has not ended, or it cannot be read.
    """
    if not folder.is_one_file:
        return read_object(folder.summary)
    found = _record_in(folder.last).get(SUMMARY)
    if not isinstance(found, dict):
        raise DataError(f"{folder.last}: holds no summary: the run has not ended")
    return found


def has_summary(folder: RunFolder) -> bool:
    """Whether a run has a summary that can be read."""
    try:
        return bool(read_summary(folder))
    except DataError:
        return False


def read_environment(folder: RunFolder) -> dict[str, Any]:
    """Return a run's environment.

    Raises:
        DataError: it is not there, or cannot be read.
    """
    if not os.path.lexists(folder.environment) and folder.last.is_file():
        found = _record_in(folder.last).get(ENVIRONMENT)
        if isinstance(found, dict):
            return found
    return read_object(folder.environment)


def read_commands(folder: RunFolder) -> list[str]:
    """Return the command lines in a run's only file; empty if there are none, or they cannot be read."""
    try:
        found = _record_in(folder.last).get(COMMANDS)
    except DataError:
        return []
    return [line for line in found if isinstance(line, str)] if isinstance(found, list) else []


def read_plain_config(file: Path) -> dict[str, Any]:
    """Return the config in a run's config.yaml, or in a checkpoint, as plain values that are not validated.

    Raises:
        ConfigError, DataError: it cannot be read.
    """
    if file.suffix != SUFFIX:
        from mlpkit.config import yaml_file  # not at the top: `mlpkit ls` reads no YAML

        return yaml_file.read(file, yaml_file.LARGEST_OF_A_RUN)
    found = read_header_parts(file).get("config")
    if not isinstance(found, dict) or is_deep(found):
        raise DataError(f"{file}: not a checkpoint of mlpkit (a .safetensors file from a run folder)")
    return found


def record_of(parts: dict[str, Any]) -> dict[str, Any]:
    """Return the record in the parts of a header; empty if there is none, or it is none of mlpkit's."""
    try:
        found = json.loads(parts.get(RECORD, "{}"))
    except (ValueError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) and not is_deep(found) else {}


def _record_in(path: Path) -> dict[str, Any]:
    if path.is_symlink() or path.parent.is_symlink():
        raise DataError(f"{path}: a link, which may lead out of the run; put the file itself there")
    return record_of(read_header_parts(path))
