"""Settings of a config that differ from mlpkit's defaults."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from pydantic import BaseModel

from mlpkit.config import yaml_file
from mlpkit.config.auto_lr import find_auto_lr
from mlpkit.config.config import Config, to_dict
from mlpkit.config.search_path import packaged
from mlpkit.config.section import Section

NONE = object()  # the default of a key that must be set
LR = "optimizer.lr"  # its default depends on model and dataset
ALWAYS = ("dataset.name", "model.name")  # what is trained, and on what, is said even if nobody chose it


@dataclass(frozen=True)
class Changed:
    """A setting that differs from its default.

    Attributes:
        key: dotted.
        value: as plain JSON values.
        default: that of the chosen dataset, model, …; NONE if it has none.
    """

    key: str
    value: Any
    default: Any


def changed_settings(config: Config) -> list[Changed]:
    """Return the settings that differ from the defaults, without run.*, which does not affect training."""
    chosen = _choices() | _auto_lr(config)
    found = (replace(each, default=chosen.get(each.key, each.default)) for each in _changed(config, ""))
    return [
        each
        for each in found
        if each.key.partition(".")[0] not in ("run", "format")
        and (each.key in ALWAYS or each.value != each.default)
    ]


@cache
def _choices() -> dict[str, str]:
    """Return which choice of each group train.yaml takes, by its key, such as optimizer.name."""
    lines = yaml_file.read(packaged() / "train.yaml")["defaults"]
    return {f"{group}.name": name for line in lines if isinstance(line, dict) for group, name in line.items()}


def _auto_lr(config: Config) -> dict[str, float]:
    """Return what `optimizer.lr=auto` stands for, by its key, for optimizers that have it."""
    plain = to_dict(config)
    found = find_auto_lr({**plain, "optimizer": {**plain["optimizer"], "lr": "auto"}})
    return {LR: found.lr} if found else {}


def _changed(section: Section, prefix: str) -> Iterator[Changed]:
    for name, field in type(section).model_fields.items():
        key, value = f"{prefix}{name}", getattr(section, name)
        default = NONE if field.is_required() else field.get_default(call_default_factory=True)
        if isinstance(value, Section):
            yield from _changed(value, f"{key}.")
        elif value != default or field.is_required() or key == LR:
            yield Changed(key, section.model_dump(mode="json", include={name})[name], _plain(default))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value
