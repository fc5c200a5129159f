"""What `optimizer.lr=auto` of Adam and AdamW stands for.

Adam's steps are about as long as the learning rate, whatever the size of the gradient, so a default can suit
all data. SGD's steps depend on that size: its lr has no auto.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlpkit.config import registry
from mlpkit.config.section import Section


@dataclass(frozen=True)
class AutoLr:
    """A learning rate, and why it was chosen."""

    lr: float
    reason: str


USUAL = AutoLr(0.001, "Adam's usual one")
ONE_LAYER = AutoLr(0.03, "a model of one layer has no bad minima and takes larger steps")
ONE_LAYER_OF_MANY = AutoLr(0.001, "hundreds of inputs add up to each output, so weights take small steps")


def find_auto_lr(config: Mapping[str, Any]) -> AutoLr | None:
    """Return what `auto` stands for in a config that is not validated yet; None if the lr is a number.

    Args:
        config: a plain dict; a key that is left out means auto too.
    """
    optimizer, model, dataset = (_schema(config, group) for group in ("optimizer", "model", "dataset"))
    section = config.get("optimizer")
    if not getattr(optimizer, "has_auto_lr", False) or not isinstance(section, Mapping):
        return None
    if section.get("lr", "auto") != "auto":
        return None
    if not getattr(model, "has_one_layer", False):
        return USUAL
    return ONE_LAYER_OF_MANY if getattr(dataset, "has_many_inputs", False) else ONE_LAYER


def with_auto_lr(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config with a number in place of `optimizer.lr=auto`."""
    if (found := find_auto_lr(config)) is None:
        return dict(config)
    return {**config, "optimizer": {**config["optimizer"], "lr": found.lr}}


def _schema(config: Mapping[str, Any], group: str) -> type[Section] | None:
    """Return the schema of a group's choice; None if the config names none that is known."""
    section = config.get(group)
    name = section.get("name") if isinstance(section, Mapping) else None
    return registry.choices(group).get(name) if isinstance(name, str) else None
