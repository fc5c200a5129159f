"""The config schema, as frozen pydantic models.

`parse` turns a plain dict into a `Config` or reports all problems together; `to_dict` is its inverse.
The YAML files in `configs/` show the defaults to the user; the schema fills in keys that are left out. A test
checks that both have the same defaults.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError

from mlpkit.config.auto_lr import with_auto_lr
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

FORMAT = 3  # version of config and checkpoint header; raised when an older mlpkit could misread them


class Config(Section):
    """The config of a run."""

    model_config = ConfigDict(defer_build=True)  # built when all choices are registered; see `_current`

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

    def with_run(self, **options: Any) -> "Config":
        """Return the config with other options in its section `run`; they are not validated."""
        return self.model_copy(update={"run": self.run.model_copy(update=options)})

    def without_members(self) -> "Config":
        """Return the config of one of the model's networks alone; members that share weights are one."""
        if self.model.networks == 1:
            return self
        return self.model_copy(update={"model": self.model.model_copy(update={"members": 1})})


class SharedSections:
    """Lets equal sections of many configs be one object, so that those of a sweep take little memory."""

    def __init__(self) -> None:
        """Begin with none."""
        self._seen: dict[Section, Section] = {}

    def of(self, config: Config) -> Config:
        """Return an equal config, with the sections of those before where they are equal."""
        sections = {name: value for name, value in config if isinstance(value, Section)}
        return config.model_copy(
            update={name: self._seen.setdefault(section, section) for name, section in sections.items()}
        )


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a config, with all registered choices."""
    return _json_schema(registered())


@lru_cache(maxsize=1)
def _json_schema(choices: tuple[type[Section], ...]) -> dict[str, Any]:
    return _current(choices).model_json_schema()


@lru_cache(maxsize=1)
def _current(choices: tuple[type[Section], ...]) -> type[Config]:
    """Return `Config`, rebuilt if the registered choices have changed since the last call."""
    Config.model_rebuild(force=True)
    return Config


def parse(data: Mapping[str, Any], typed: Mapping[str, str] | None = None) -> Config:
    """Validate a plain dict.

    Args:
        data: the config.
        typed: the text typed on the command line, for each overridden key; error messages quote it.

    Raises:
        ConfigError: the config is invalid; one line per problem: key, value, rule and way out.
    """
    if not isinstance(data, Mapping):
        raise ConfigError("a config must be a mapping of keys")
    declared = data.get("format", FORMAT)
    if isinstance(declared, int) and declared > FORMAT:
        raise ConfigError(f"format={show(declared)}: this mlpkit reads up to format {FORMAT}; upgrade mlpkit")
    try:
        return _current(registered()).model_validate(with_auto_lr(data))
    except ValidationError as error:
        raise ConfigError(*describe_problems(error, json_schema(), typed or {})) from None


def to_dict(config: Config) -> dict[str, Any]:
    """Return the config as plain JSON values, `name` first in each section; `parse` is the inverse."""
    plain: dict[str, Any] = config.model_dump(mode="json")
    return {key: _name_first(value) if isinstance(value, dict) else value for key, value in plain.items()}


def _name_first(section: dict[str, Any]) -> dict[str, Any]:
    return {**({"name": section["name"]} if "name" in section else {}), **section}
