"""launcher.json: the launcher of a sweep and its settings, which `mlpkit resume` takes again.

A sweep's folder may be foreign, and a launcher may lead to another machine: its settings are taken from the
folder only if this user has typed the same ones before, of which the user's cache folder keeps a mark.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from mlpkit.config import registry
from mlpkit.config.launcher import LauncherConfig
from mlpkit.errors import ConfigError, DataError, MlpkitError
from mlpkit.folders.sweep_folder import SweepFolder
from mlpkit.system.atomic_write import atomic_write
from mlpkit.system.paths import cache_folder
from mlpkit.system.plain_json import read_object, to_json, write_json


def remember(folder: SweepFolder, config: LauncherConfig) -> None:
    """Write the launcher of a sweep.

    Raises:
        WriteError: the file cannot be written.
    """
    content = config.model_dump(mode="json")
    write_json(folder.launcher, content)
    if not config.is_local:
        with suppress(MlpkitError, OSError):  # without the mark it must be typed again
            mark = _mark(content)
            mark.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(mark, b"")


def recall(folder: SweepFolder) -> LauncherConfig | None:
    """Return the launcher that a sweep was trained with, or None.

    Raises:
        ConfigError: it is not one that this user has typed, or there is no such launcher.
        DataError: the file cannot be read.
    """
    if not folder.launcher.exists():
        return None
    content = read_object(folder.launcher)
    name = content.get("name")
    schema = registry.choices("launcher").get(name) if isinstance(name, str) else None
    if schema is None:
        raise ConfigError(
            f"{folder.launcher}: name={name}: no such launcher; give the --plugin that has it, or --launcher"
        )
    try:
        config = schema.model_validate(_tuples(content))
    except ValidationError:
        raise ConfigError(
            f"{folder.launcher}: not the settings of --launcher={name}; give them again"
        ) from None
    assert isinstance(config, LauncherConfig)
    if not config.is_local and not _mark(content).exists():
        raise ConfigError(
            f"{folder.launcher}: names --launcher={name} with settings that you have not used before; "
            "give --launcher and them again, or --launcher=vectorized"
        )
    return config


def runs_per_job(folder: SweepFolder) -> int | None:
    """Return the largest number of runs that a sweep has trained together, where it was limited."""
    with suppress(DataError, ValidationError):
        if folder.launcher.exists():
            most = read_object(folder.launcher).get("runs_per_job")
            return most if isinstance(most, int) and most > 0 else None
    return None


def _mark(content: dict[str, object]) -> Path:
    return cache_folder() / "launchers" / hashlib.sha256(to_json(content).encode()).hexdigest()


def _tuples(content: dict[str, object]) -> dict[str, object]:
    """Return what JSON holds as lists as tuples, which the schemas have."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
