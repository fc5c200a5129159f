"""Where a run comes from: the command line that asked for it, and whose its config is."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from mlpkit.config import plugins
from mlpkit.runs.trust import Trust


@dataclass(frozen=True)
class Origin:
    """Where a run or a sweep comes from.

    Attributes:
        command: the command line, for the records.
        trust: whether the config is the user's own or foreign.
        overrides: the settings in the command line, for the records.
    """

    command: str
    trust: Trust
    overrides: tuple[str, ...] = ()


def resume_command(folder: Path) -> str:
    """Return the command that resumes a run or a sweep, with the plug-ins of this command line."""
    typed = [f"--plugin={plugin.name}" for plugin in plugins.loaded() if plugin.is_typed]
    return shlex.join(["mlpkit", "resume", *typed, str(folder)])
