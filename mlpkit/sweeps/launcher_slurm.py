"""The launcher that submits each job to Slurm."""

from pathlib import Path
from typing import Literal

from mlpkit.config.launcher import LauncherConfig, Workers
from mlpkit.config.registry import choice
from mlpkit.config.section import Count
from mlpkit.errors import ConfigError


@choice("launcher")
class SlurmLauncher(LauncherConfig):
    """Slurm jobs, submitted as one array; a job that runs out of time is requeued."""

    name: Literal["slurm"]
    workers: Count | None = None
    slurm: tuple[str, ...] = ()

    def check(self) -> None:
        """See `LauncherConfig.check`."""
        try:
            import submitit  # noqa: F401
        except ImportError:
            raise ConfigError("--launcher=slurm: needs submitit; pip install 'mlpkit[slurm]'") from None
        from mlpkit.sweeps.slurm import check

        check(self.slurm, self.workers)

    def open(self, folder: Path, runs: int) -> Workers:
        """See `LauncherConfig.open`."""
        from mlpkit.sweeps.slurm import Slurm

        return Slurm(self.slurm, self.workers, folder)
