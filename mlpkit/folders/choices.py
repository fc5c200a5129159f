"""The values chosen for `auto` settings: stored in environment.json and kept when the run is resumed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlpkit.config.config import Config
from mlpkit.config.problems import show
from mlpkit.config.run import MEASURED
from mlpkit.errors import DataError
from mlpkit.folders.environment import process_environment
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_record import read_environment


@dataclass(frozen=True)
class Choices:
    """The settings that decide how steps are computed; None if not chosen yet.

    Attributes:
        engine: stacked or autograd.
        threads: number of CPU threads.
        matmul: precision level of matrix products.
        compiled: whether steps are compiled.
        processes: number of processes that share each batch.
    """

    engine: str | None = None
    threads: int | None = None
    matmul: str | None = None
    compiled: bool | None = None
    processes: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "engine": self.engine,
            "threads": self.threads,
            "matmul": self.matmul,
            "compiled": self.compiled,
            "processes": self.processes,
        }


def differences(before: dict[str, Any], device: str, now: Choices) -> list[str]:
    """Return, in words, the changes in the environment that may change the rounding of results.

    Args:
        before: the run's environment.json.
        device: the device used now.
        now: the choices used now.
    """
    environment = {**process_environment(device), **now.to_dict()}
    names = ("device", "device_name", "threads", "processes", "engine", "matmul", "compiled")
    pairs = {name: (_stored_value(before, name), environment[name]) for name in names}
    pairs["torch"] = (_torch(before), _torch(environment))
    old_plugins, new_plugins = _plugins(before), _plugins(environment)
    pairs |= {
        f"plug-in {name}": (old_plugins.get(name), new_plugins.get(name))
        for name in sorted({*old_plugins, *new_plugins})
    }
    return [f"{name} {show(new)} (was {show(old)})" for name, (old, new) in pairs.items() if old != new]


def stored_choices(folder: RunFolder, stored: Config, device: str) -> Choices:
    """Return the values that a run chose for `auto`; none if the machine or the torch version has changed."""
    try:
        before = read_environment(folder)
    except DataError:
        return Choices()
    environment, trainer = process_environment(device), stored.trainer
    if _torch(before) != _torch(environment) or before.get("device_name") != environment["device_name"]:
        return Choices()
    names = ("engine", "threads", "matmul", "compiled")
    engine, threads, matmul, compiled = (_stored_value(before, name) for name in names)
    return Choices(
        engine if trainer.engine == "auto" and engine in ("stacked", "autograd") else None,
        threads if trainer.threads == "auto" and isinstance(threads, int) and threads > 0 else None,
        matmul if matmul in MEASURED.get(trainer.matmul, ()) else None,
        compiled if trainer.compile == "auto" and isinstance(compiled, bool) else None,
    )


def _stored_value(environment: dict[str, Any], name: str) -> Any:
    """Return a value; older versions, which had only one choice, did not store it."""
    only = {"engine": "autograd", "matmul": "highest", "compiled": False, "processes": 1}
    return environment.get(name, only.get(name))


def _plugins(environment: dict[str, Any]) -> dict[str, str]:
    """Return the first 12 digits of each plug-in file's SHA-256, by file name."""
    plugins = environment.get("plugins")
    used = [each for each in plugins if isinstance(each, dict)] if isinstance(plugins, list) else []
    return {Path(str(each.get("path"))).name: str(each.get("sha256"))[:12] for each in used}


def _torch(environment: dict[str, Any]) -> Any:
    versions = environment.get("versions")
    return versions.get("torch") if isinstance(versions, dict) else None
