"""The launchers by their names: how the jobs of a sweep are trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mlpkit.errors import ConfigError

if TYPE_CHECKING:
    from mlpkit.sweep.work import Launcher

NAMES = ("vectorized", "processes", "slurm")


@dataclass(frozen=True)
class Wanted:
    """What the command line says of the launcher.

    Attributes:
        name: vectorized, processes or slurm.
        workers: jobs at a time; None leaves it to the launcher.
        slurm: settings of Slurm's jobs, `key=value` each.
    """

    name: str = "vectorized"
    workers: int | None = None
    slurm: Sequence[str] = ()

    def options(self) -> dict[str, bool]:
        """Return whether each of the options has been given, by what was typed."""
        return {
            f"--launcher={self.name}": self.name != "vectorized",
            f"--workers={self.workers}": self.workers is not None,
            f"--slurm={next(iter(self.slurm), '')}": bool(self.slurm),
        }

    def check(self) -> None:
        """Refuse an unknown name, or an option that is not for this launcher.

        Raises:
            ConfigError: it is so.
        """
        if self.name not in NAMES:
            raise ConfigError(f"--launcher={self.name}: must be vectorized, processes or slurm")
        if self.slurm and self.name != "slurm":
            raise ConfigError(f"--slurm={self.slurm[0]}: only for --launcher=slurm")
        if self.workers is not None and self.name == "vectorized":
            raise ConfigError(f"--workers={self.workers}: only for --launcher=processes or --launcher=slurm")


def choose(wanted: Wanted) -> "Launcher":
    """Return the launcher.

    Raises:
        ConfigError: there is none of that name, or an option is not for this one.
    """
    wanted.check()
    name, workers, slurm = wanted.name, wanted.workers, wanted.slurm
    if name == "processes":
        from mlpkit.sweep import fork_server

        fork_server.start()  # it loads torch while we do
        from mlpkit.sweep.processes import processes

        return partial(processes, workers=workers)
    if name == "slurm":
        try:
            import submitit  # noqa: F401
        except ImportError:
            raise ConfigError("--launcher=slurm: needs submitit; pip install 'mlpkit[slurm]'") from None
        from mlpkit.sweep.slurm import Slurm

        return Slurm(slurm, workers)
    from mlpkit.sweep.vectorized import vectorized

    return vectorized
