"""Finds the launcher that the command line, or a sweep's folder, names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from mlpkit.config import registry
from mlpkit.config.launcher import LauncherConfig
from mlpkit.config.problems import did_you_mean
from mlpkit.errors import ConfigError
from mlpkit.folders.sweep_folder import SweepFolder
from mlpkit.sweeps.remembered import recall

if TYPE_CHECKING:
    from mlpkit.sweeps.launch import JobLauncher

DEFAULT = "vectorized"


@dataclass(frozen=True)
class LauncherOptions:
    """The launcher options of the command line; None for one that was not given.

    Attributes:
        name: name of the launcher.
        workers: number of jobs at a time.
        runs_per_job: the largest number of runs of a job, or "auto".
        address: of a scheduler.
        slurm: settings of the Slurm jobs, each `key=value`.
    """

    name: str | None = None
    workers: int | None = None
    runs_per_job: str | None = None
    address: str | None = None
    slurm: Sequence[str] = ()

    def options(self) -> dict[str, bool]:
        """Return whether each option was given, by its text on the command line."""
        given = {_text(key, value): True for key, value in self._settings().items()}
        return {f"--launcher={self.name}": self.name is not None} | given

    def config(self, before: LauncherConfig | None = None) -> LauncherConfig:
        """Return the launcher with its options.

        Args:
            before: the launcher of a resumed sweep, whose options count where none are given.

        Raises:
            ConfigError: there is no such launcher, or a value or an option is not for it.
        """
        known = registry.choices("launcher")
        name = self.name or (before.name if before else DEFAULT)
        if name not in known:
            raise ConfigError(
                f"--launcher={name}: must be {_one_of(list(known))}{did_you_mean(name, list(known))}"
            )
        settings = self._settings()
        for key in settings:
            if key not in known[name].model_fields:
                having = [other for other, schema in known.items() if key in schema.model_fields]
                raise ConfigError(f"{_text(key, settings[key])}: only for --launcher={_one_of(having)}")
        try:
            kept = before.model_dump() if before is not None and before.name == name else {}
            config = known[name].model_validate({**kept, "name": name, **settings})
        except ValidationError as error:
            key = str(error.errors()[0]["loc"][0])
            said = "auto, or a number from 1 on" if key == "runs_per_job" else error.errors()[0]["msg"]
            raise ConfigError(f"{_text(key, settings[key])}: must be {said}") from None
        assert isinstance(config, LauncherConfig)
        return config

    def _settings(self) -> dict[str, object]:
        runs = self.runs_per_job
        number: object = int(runs) if runs and runs.isdecimal() else runs
        found = {"workers": self.workers, "runs_per_job": number, "address": self.address}
        given: dict[str, object] = {key: value for key, value in found.items() if value is not None}
        return given | ({"slurm": tuple(self.slurm)} if self.slurm else {})


def choose(options: LauncherOptions, resumed: SweepFolder | None = None) -> "JobLauncher":
    """Return the launcher; a resumed sweep has that of its beginning, unless one is given.

    Raises:
        ConfigError: the options are invalid, or the launcher cannot be used.
        DataError: the file that names the launcher of a resumed sweep cannot be read.
    """
    config = options.config(recall(resumed) if resumed is not None and options.name is None else None)
    config.check()
    from mlpkit.sweeps.launch import JobLauncher

    return JobLauncher(config)


def _text(key: str, value: object) -> str:
    """Return an option as it was typed."""
    return f"--{key.replace('_', '-')}={value[0] if isinstance(value, tuple) else value}"


def _one_of(names: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
