"""overrides.yaml: the command-line overrides of a run or a sweep, in order, as Hydra stores them."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from mlpkit.config import yaml_file
from mlpkit.errors import DataError
from mlpkit.system.atomic_write import atomic_write
from mlpkit.system.plain_json import regular_file

UNFOLDED = 1_000_000  # characters: one line for each override


def keep_overrides(path: Path, overrides: Sequence[str]) -> tuple[str, ...]:
    """Append new overrides to the list in a file, creating it if needed; return the whole list.

    Raises:
        WriteError: the file cannot be written.
    """
    before = read_overrides(path)
    after = [*before, *(line for line in overrides if line not in before)]
    if after != before or not path.exists():
        atomic_write(path, yaml_file.dump(after, UNFOLDED).encode())
    return tuple(after)


def read_overrides(path: Path) -> list[str]:
    """Return the list in a file that may be foreign, or an empty list if it cannot be read."""
    try:
        regular_file(path)
        if path.stat().st_size > yaml_file.LARGEST_OF_A_RUN:
            return []
        lines = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (DataError, OSError, ValueError, RecursionError, yaml.YAMLError):
        return []
    return lines if isinstance(lines, list) and all(isinstance(line, str) for line in lines) else []
