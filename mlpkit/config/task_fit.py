"""Which choices of a group are for which tasks."""

from typing import ClassVar

from mlpkit.config.registry import choices
from mlpkit.config.section import Section
from mlpkit.errors import ConfigError

TASKS = ("regression", "binary", "multiclass")


class ForTasks(Section):
    """A choice that is for some tasks only.

    Attributes:
        tasks: the tasks that it is for.
    """

    name: str
    tasks: ClassVar[tuple[str, ...]] = TASKS


def check_task(group: str, chosen: ForTasks, task: str, dataset: str) -> None:
    """Refuse a choice that is not for a dataset's task.

    Args:
        group: of the choice.
        chosen: the choice.
        task: of the dataset.
        dataset: its name.

    Raises:
        ConfigError: it is for other tasks; the line names those of the group that fit.
    """
    if task not in chosen.tasks:
        kind = "regression" if task == "regression" else f"{task} classification"
        known = choices(group).items()
        others = [name for name, of in known if issubclass(of, ForTasks) and task in of.tasks]
        use = " or ".join(f"{group}={name}" for name in others)
        raise ConfigError(f"{group}={chosen.name}: dataset={dataset} is a {kind}; use {use}")
