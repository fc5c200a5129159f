"""Checks that a loss or a metric supports the dataset's task."""

from typing import ClassVar

from mlpkit.config.registry import TASKS, choices
from mlpkit.config.section import Section
from mlpkit.errors import ConfigError


class ForTasks(Section):
    """The base class of choices that support only some tasks.

    Attributes:
        tasks: the supported tasks.
    """

    name: str
    tasks: ClassVar[tuple[str, ...]] = TASKS


def check_task(group: str, chosen: ForTasks, task: str, dataset: str) -> None:
    """Raise an error if a choice does not support the dataset's task.

    Args:
        group: the choice's group, such as loss.
        chosen: the choice.
        task: the dataset's task.
        dataset: the dataset's name.

    Raises:
        ConfigError: the choice does not support the task; the message names choices that do.
    """
    if task not in chosen.tasks:
        kind = "regression" if task == "regression" else f"{task} classification"
        known = choices(group).items()
        others = [name for name, schema in known if issubclass(schema, ForTasks) and task in schema.tasks]
        *first, last = others
        use = f"{', '.join(first)} or {last}" if first else last
        raise ConfigError(f"{group}={chosen.name}: dataset={dataset} is a {kind}; use {group}={use}")
