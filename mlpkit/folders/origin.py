"""The origin of a run: its command line, and whether its config is the user's own or foreign."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from mlpkit.config import plugins
from mlpkit.folders.trust import Trust


@dataclass(frozen=True)
class Origin:
    """The origin of a run or a sweep.

    Attributes:
        command: the command line, for command.txt.
        trust: whether the config is the user's own or foreign.
        overrides: the overrides of the command line, for overrides.yaml.
    """

    command: str
    trust: Trust
    overrides: tuple[str, ...] = ()


def resume_command(folder: Path) -> str:
    """Return the command that resumes a run or a sweep, with the plug-ins of this command line."""
    typed = [f"--plugin={plugin.name}" for plugin in plugins.loaded() if plugin.is_typed]
    return shlex.join(["mlpkit", "resume", *typed, str(folder)])
