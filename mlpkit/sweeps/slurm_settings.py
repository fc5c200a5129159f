"""Reads the settings of `--slurm`."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from mlpkit.errors import ConfigError

CLUSTERS = ("slurm", "local")
LEAST = {"timeout_min": 1, "cpus_per_task": 1, "gpus_per_node": 0}  # whole numbers
KNOWN = ("cluster", "name", "mem_gb", *LEAST)  # under submitit's names, which are not Slurm's
LISTS = ("setup", "teardown", "srun_args")  # may be given several times: commands, and options of srun
OF_ONE_TASK = ("nodes", "tasks_per_node", "ntasks_per_node")  # which cannot be chosen
NOT_GIVEN = (*OF_ONE_TASK, "additional_parameters")


def read(settings: Sequence[str]) -> dict[str, Any]:
    """Return the settings as submitit's parameters.

    Raises:
        ConfigError: a setting is not `key=value`, or asks for several tasks.
    """
    parameters: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not (key and equals and text):
            raise ConfigError(f"--slurm={setting}: must be KEY=VALUE, as in --slurm partition=gpu")
        if key in OF_ONE_TASK:
            raise ConfigError(f"--slurm={setting}: each run is one task of one node")
        name = key if key in KNOWN or key.startswith("slurm_") else f"slurm_{key}"
        if key in LISTS:
            parameters.setdefault(name, []).append(text)
        else:
            parameters[name] = text if key in ("cluster", "name") else _value(text)
        _check_number(setting, key, parameters[name])
    return parameters


def _check_number(setting: str, key: str, value: Any) -> None:
    """Check a setting that must be a number.

    Raises:
        ConfigError: it is none, or too small.
    """
    if key in LEAST and (type(value) is not int or value < LEAST[key]):
        raise ConfigError(f"--slurm={setting}: must be a whole number from {LEAST[key]} on")
    if key == "mem_gb" and not (type(value) in (int, float) and 0 < value < inf):
        raise ConfigError(f"--slurm={setting}: must be a number above 0")


def _value(text: str) -> Any:
    words: Mapping[str, bool] = {"true": True, "false": False}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
