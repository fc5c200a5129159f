"""The environment of a run, on which its results may depend: versions, plug-ins, machine, git commit."""

import os
import re
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mlpkit.config import plugins
from mlpkit.config.problems import PLUGIN_HINT, spell
from mlpkit.errors import DataError
from mlpkit.system.plain_json import read_object

PACKAGES = (
    "mlpkit",
    "torch",
    "numpy",
    "torchvision",
    "scikit-learn",
    "hydra-core",
    "pydantic",
)


@cache
def versions() -> dict[str, str | None]:
    """Return the installed version of each of `PACKAGES`; None if it is not installed."""
    installed: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            installed[package] = None
    return installed


@cache
def git_commit() -> str | None:
    """Return the commit of the working directory's repository, with `-dirty` if tracked files have changed.

    A repository that defines filters gives `-unchecked`: to compare files, git would run these programs.
    The result is cached. Call it before stop signals are deferred: git may take long.
    """
    try:
        commit = _git("rev-parse", "--verify", "HEAD").stdout.strip()
        filters = _git(
            "config", "--show-scope", "--name-only", "--get-regexp", "^filter[.]", no_match=1
        ).stdout
        if any(line.split()[0] in ("local", "worktree") for line in filters.splitlines()):
            return f"{commit}-unchecked"
        changed = _git("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty").stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}-dirty" if changed else commit


def _git(*arguments: str, no_match: int = 0) -> subprocess.CompletedProcess[str]:
    """Run git with hooks and monitors disabled: the repository and its settings may be foreign."""
    command = ["git", "-c", "core.fsmonitor=", "-c", f"core.hooksPath={os.devnull}", *arguments]
    safe = {"GIT_OPTIONAL_LOCKS": "0", "GIT_ALLOW_PROTOCOL": ""}  # do not write the index, do not fetch
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=5, env={**os.environ, **safe}
    )
    if done.returncode not in (0, no_match):
        done.check_returncode()
    return done


def name_plugins(problem: str, run: Path) -> str:
    """Return a problem of a run's config, with the plug-ins named that the run used and nobody has given.

    Args:
        problem: one line; without PLUGIN_HINT it is returned as it is.
        run: the run's folder, whose environment.json is read.
    """
    if PLUGIN_HINT not in problem:
        return problem
    try:
        stored = read_object(run / "environment.json").get("plugins")
    except (DataError, OSError):
        return problem
    used = [each.get("path") for each in stored if isinstance(each, dict)] if isinstance(stored, list) else []
    known = {plugin.path or plugin.name for plugin in plugins.loaded()}
    missing = [path for path in used if isinstance(path, str) and path not in known]
    if not missing:
        return problem
    names = [
        spell(os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path) for path in missing
    ]
    options = " ".join(f"--plugin {name}" for name in names)
    hint = re.escape(PLUGIN_HINT) + r"(?:; did you mean [^?;]*\?)?"  # the name is right, so no other is meant
    return re.sub(hint, lambda _: f"; this run used {', '.join(names)}: add {options}", problem)


def process_environment(device: str) -> dict[str, Any]:
    """Return the environment of this process: versions, plug-ins, machine and threads."""
    from mlpkit.system.device import describe_machine

    used = [{"path": plugin.path or plugin.name, "sha256": plugin.sha256} for plugin in plugins.loaded()]
    return {"versions": versions(), "plugins": used, **describe_machine(device)}
