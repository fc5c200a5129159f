"""Chooses the launcher, which decides how the jobs of a sweep are trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mlpkit.errors import ConfigError

if TYPE_CHECKING:
    from mlpkit.sweeps.work import Launcher

NAMES = ("vectorized", "processes", "slurm")


@dataclass(frozen=True)
class LauncherOptions:
    """The launcher options of the command line.

    Attributes:
        name: vectorized, processes or slurm.
        workers: number of jobs at a time; None for the launcher's default.
        slurm: settings of the Slurm jobs, each `key=value`.
    """

    name: str = "vectorized"
    workers: int | None = None
    slurm: Sequence[str] = ()

    def options(self) -> dict[str, bool]:
        """Return whether each option was given, by its text on the command line."""
        return {
            f"--launcher={self.name}": self.name != "vectorized",
            f"--workers={self.workers}": self.workers is not None,
            f"--slurm={next(iter(self.slurm), '')}": bool(self.slurm),
        }

    def check(self) -> None:
        """Check the name, and that each option belongs to this launcher.

        Raises:
            ConfigError: the name is unknown, or an option belongs to another launcher.
        """
        if self.name not in NAMES:
            raise ConfigError(f"--launcher={self.name}: must be vectorized, processes or slurm")
        if self.slurm and self.name != "slurm":
            raise ConfigError(f"--slurm={self.slurm[0]}: only for --launcher=slurm")
        if self.workers is not None and self.name == "vectorized":
            raise ConfigError(f"--workers={self.workers}: only for --launcher=processes or --launcher=slurm")


def choose(options: LauncherOptions) -> "Launcher":
    """Return the launcher.

    Raises:
        ConfigError: the options are invalid, or the launcher's package is not installed.
    """
    options.check()
    name, workers, slurm = options.name, options.workers, options.slurm
    if name == "processes":
        from mlpkit.sweeps import fork_server

        fork_server.start()  # it imports torch while this process does
        from mlpkit.sweeps.processes import processes

        return partial(processes, workers=workers)
    if name == "slurm":
        try:
            import submitit  # noqa: F401
        except ImportError:
            raise ConfigError("--launcher=slurm: needs submitit; pip install 'mlpkit[slurm]'") from None
        from mlpkit.sweeps.slurm import Slurm

        return Slurm(slurm, workers)
    from mlpkit.sweeps.vectorized import vectorized

    return vectorized
