"""What else a run's numbers may depend on: versions, machine, git commit."""

import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

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
    """Return the installed version of each package that matters; None for one that is not there."""
    found: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


@cache
def git_commit() -> str | None:
    """Return the commit of the working directory's repository, with `-dirty` where files are changed."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def describe(device: str) -> dict[str, Any]:
    """Return what a process may say of itself: versions, machine, threads.

    Git is asked only where a run begins: a stranger's run folder may lie in a stranger's repository,
    whose settings can make git run programs.
    """
    from mlpkit.device import describe_machine

    return {"versions": versions(), **describe_machine(device)}
