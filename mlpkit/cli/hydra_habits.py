"""Errors for Hydra's options and settings that mlpkit lacks: each says what to write instead."""

from collections.abc import Sequence

from mlpkit.errors import ConfigError

_OPTIONS = {
    ("-cn", "--config-name"): "write --config FILE, or experiment=NAME for configs/experiment/NAME.yaml",
    ("-cp", "--config-path"): "write --config-dir DIR",
    ("-i", "--info"): "see mlpkit config --explain, mlpkit list and mlpkit doctor",
    ("--hydra-help",): "see mlpkit --help",
    ("-r", "--run"): "train makes one run unless -m is given; leave it out",
    ("-sc", "--shell-completion"): "see mlpkit completion --help",
    ("--experimental-rerun",): "mlpkit train --config RUN/config.yaml repeats a run",
}
_SETTINGS = {
    "hydra.run.dir": "write run.dir=DIR",
    "hydra.sweep.dir": "with -m, write run.dir=DIR",
    "hydra.sweep.subdir": "the runs of a sweep are named by their numbers; leave it out",
    "hydra.job.name": "write run.name=NAME",
    "hydra.job.chdir": "mlpkit stays in the working directory; leave it out",
    "hydra.job.env_set": "write NAME=VALUE in front of mlpkit",
    "hydra.launcher": "write --launcher vectorized, processes, dask, ray or slurm; see --workers",
    "hydra.sweeper": "-m sweeps over a grid; --search tpe, random or cmaes searches",
    "hydra.mode": "-m makes a sweep",
    "hydra.searchpath": "write --config-dir DIR",
    "hydra.verbose": "--debug shows the traceback of an error",
    "hydra.job_logging": "run.progress says what the console shows, and train.log keeps it",
    "hydra.hydra_logging": "run.progress says what the console shows, and train.log keeps it",
    "hydra.output_subdir": "config.yaml, overrides.yaml and command.txt lie in the run folder; leave it out",
}


def refuse_options(arguments: Sequence[str]) -> None:
    """Refuse Hydra's options.

    Raises:
        ConfigError: an option is Hydra's; the message says what to write instead.
    """
    if not arguments or not arguments[0].startswith(("-", "train", "config")):
        return
    for argument in arguments:
        name = argument.partition("=")[0]
        for names, way in _OPTIONS.items():
            if name in names:
                raise ConfigError(f"{name}: an option of Hydra's that mlpkit does not have; {way}")


def way_of(key: str) -> str:
    """Return what to write instead of a key of Hydra's own section."""
    key = key.replace("/", ".")
    found = (way for name, way in _SETTINGS.items() if key == name or key.startswith(f"{name}."))
    return next(found, "set run.root or run.dir for the folder")
