"""The launcher that gives each job a process of this machine."""

from pathlib import Path
from typing import ClassVar, Literal

from mlpkit.config.launcher import LauncherConfig, Workers
from mlpkit.config.registry import choice
from mlpkit.config.section import Count


@choice("launcher")
class ProcessesLauncher(LauncherConfig):
    """A process for each job, several at a time: a crash of one does not stop the others."""

    is_local: ClassVar[bool] = True
    name: Literal["processes"]
    workers: Count | None = None

    def check(self) -> None:
        """See `LauncherConfig.check`; the fork server imports torch while this process does."""
        from mlpkit.sweeps import fork_server

        fork_server.start()

    def open(self, folder: Path, runs: int) -> Workers:
        """See `LauncherConfig.open`."""
        from mlpkit.sweeps.processes import Processes
        from mlpkit.system.device import cores

        return Processes(min(self.workers or cores(), runs))
