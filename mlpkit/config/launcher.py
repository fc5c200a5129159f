"""Base classes of launchers, which give the jobs of a sweep to workers. A job is a group of runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mlpkit.config.plugins import Parcel
from mlpkit.config.section import Section
from mlpkit.errors import MlpkitError


@dataclass(frozen=True)
class JobResult:
    """What `mlpkit.sweeps.packed_job.train_job` returns.

    Attributes:
        errors: each run that has ended, and its error or None.
        refused: why the job was not begun; its runs fail with it. None otherwise.
        warnings: lines for the user.
    """

    errors: Mapping[int, MlpkitError | None] = field(default_factory=dict)
    refused: MlpkitError | None = None
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class LostJob:
    """A job whose process or machine has ended without a result; its runs go on from their checkpoints."""

    reason: str


Ended = Sequence[tuple[int, JobResult | LostJob]]  # numbers of jobs that have ended, and how


class Workers:
    """Processes or machines that train jobs. A subclass defines `submit`, `collect`, `stop` and `close`.

    Attributes:
        places: number of jobs that are trained at a time; None if it is not known.
        has_queue: whether all jobs are submitted at once, and wait for a place in a queue of its own.
    """

    places: int | None = None
    has_queue: bool = False

    def submit(self, jobs: Mapping[int, Parcel]) -> None:
        """Begin jobs: `mlpkit.sweeps.packed_job.train_job(parcel)` is to be called in a process of each.

        Args:
            jobs: parcels by job number.

        Raises:
            MlpkitError: the sweep cannot go on.
        """
        raise NotImplementedError(f"{type(self).__name__} has no submit")

    def collect(self, seconds: float) -> Ended:
        """Wait up to some seconds for jobs that end; return those that have ended since the last call.

        Raises:
            MlpkitError: the sweep cannot go on, for example since a scheduler is gone.
        """
        raise NotImplementedError(f"{type(self).__name__} has no collect")

    def stop(self) -> None:
        """Ask all jobs to save their runs and end; `collect` returns them then."""
        raise NotImplementedError(f"{type(self).__name__} has no stop")

    def close(self) -> None:
        """End what is left, at once. Called last, also after an error."""
        raise NotImplementedError(f"{type(self).__name__} has no close")


class LauncherConfig(Section):
    """A launcher's options, which have the names of those of the command line. A new one defines `open`.

    Attributes:
        is_local: whether all its workers are processes of this machine that mlpkit itself starts. Others are
            taken from the folder of a sweep only if this user has typed them before.
        in_this_process: whether the sweep's own process trains the runs; else `open` returns the workers.
    """

    is_local: ClassVar[bool] = False
    in_this_process: ClassVar[bool] = False
    name: str
    runs_per_job: Annotated[int, Field(ge=1, le=10**6)] | Literal["auto"] = "auto"

    def check(self) -> None:
        """Check what can be checked before a sweep begins, such as that a package is installed.

        Raises:
            ConfigError: the launcher cannot be used.
        """

    def open(self, folder: Path, runs: int) -> Workers:
        """Return the workers.

        Args:
            folder: the sweep's folder.
            runs: number of runs to train.

        Raises:
            MlpkitError: they cannot be reached, or lack something.
        """
        raise NotImplementedError(f"--launcher={self.name} has no open")
