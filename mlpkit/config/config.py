"""The schema: what a config may say, as frozen typed objects.

`parse` turns a plain dict into a `Config` or reports every problem at once; `to_dict` is its inverse.
Defaults here and in `configs/*.yaml` are the same numbers, held equal by a test: the YAML files show
them to a reader, the schema completes a config that leaves them out.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError

from mlpkit.config.dataset import DatasetConfig
from mlpkit.config.init import InitConfig
from mlpkit.config.loss import LossConfig
from mlpkit.config.model import ModelConfig
from mlpkit.config.optimizer import OptimizerConfig
from mlpkit.config.problems import describe_problems, show
from mlpkit.config.registry import OneOf, registered
from mlpkit.config.run import RunConfig, TrainerConfig
from mlpkit.config.scheduler import SchedulerConfig
from mlpkit.config.section import Section
from mlpkit.errors import ConfigError

FORMAT = 3  # of the config and of the checkpoint header; raised when an older mlpkit could misread it


class Config(Section):
    """A whole experiment."""

    model_config = ConfigDict(defer_build=True)  # until all choices are there; see `_current`

    format: int = Field(FORMAT, ge=1, description="version of this schema")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of weights, data order, dropout and augmentation")
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$",
        description="where to compute",
        json_schema_extra={"rule": "auto, cpu, cuda or cuda:N"},
    )
    dataset: Annotated[DatasetConfig, OneOf("dataset")]
    model: Annotated[ModelConfig, OneOf("model")]
    loss: Annotated[LossConfig, OneOf("loss")] = Field({"name": "auto"}, validate_default=True)
    optimizer: Annotated[OptimizerConfig, OneOf("optimizer")]
    scheduler: Annotated[SchedulerConfig, OneOf("scheduler")]
    init: Annotated[InitConfig, OneOf("init")]
    trainer: TrainerConfig = Field(TrainerConfig(), description="how the model is trained")
    run: RunConfig = Field(RunConfig(), description="where the run goes and what it writes")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a config with all choices that are registered now."""
    return _json_schema(registered())


@lru_cache(maxsize=1)
def _json_schema(choices: tuple[type[Section], ...]) -> dict[str, Any]:
    return _current(choices).model_json_schema()


@lru_cache(maxsize=1)
def _current(choices: tuple[type[Section], ...]) -> type[Config]:
    """Build the validator anew where other choices are registered than the last time."""
    Config.model_rebuild(force=True)
    return Config


def parse(data: Mapping[str, Any], typed: Mapping[str, str] | None = None) -> Config:
    """Validate a plain dict.

    Args:
        data: the config.
        typed: what was typed for a key, where a value is an override's.

    Raises:
        ConfigError: with every problem, a line each: the key, the value, the rule and the way out.
    """
    if not isinstance(data, Mapping):
        raise ConfigError("a config must be a mapping of keys")
    declared = data.get("format", FORMAT)
    if isinstance(declared, int) and declared > FORMAT:
        raise ConfigError(f"format={show(declared)}: this mlpkit reads up to format {FORMAT}; upgrade mlpkit")
    try:
        return _current(registered()).model_validate(dict(data))
    except ValidationError as error:
        raise ConfigError(*describe_problems(error, json_schema(), typed or {})) from None


def to_dict(config: Config) -> dict[str, Any]:
    """Return the config as plain JSON values, names first; `parse` is the inverse."""
    plain: dict[str, Any] = config.model_dump(mode="json")
    return {key: _name_first(value) if isinstance(value, dict) else value for key, value in plain.items()}


def _name_first(section: dict[str, Any]) -> dict[str, Any]:
    return {**({"name": section["name"]} if "name" in section else {}), **section}
