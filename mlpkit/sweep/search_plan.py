"""What is searched, and how: as it was asked for, as search.json keeps it, and what it stands for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlpkit.analysis.compare import loss_kind, loss_unit
from mlpkit.config import nested
from mlpkit.config.config import Config, to_dict
from mlpkit.errors import ConfigError, DataError
from mlpkit.runs.sweep_folder import SweepFolder
from mlpkit.sweep.datasets import Datasets
from mlpkit.sweep.grid import MOST_TRIALS, Interval
from mlpkit.system.plain_json import read_object
from mlpkit.tasks import TASKS, Task

Space = Mapping[str, Interval | tuple[str, ...]]
Compose = Callable[[Sequence[str]], Config]


class Search(BaseModel):
    """What is searched, and how: what search.json holds.

    Attributes:
        sampler: what chooses the trials.
        pruner: what ends them before their time.
        trials: how many there are to be.
        batch: how many are asked for at once.
        overrides: the command line, with what is searched.
        folders: of configs, besides the usual ones.
        file: a whole config to start from.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    sampler: Literal["tpe", "random", "cmaes"]
    pruner: Literal["none", "median", "hyperband", "halving"]
    trials: int = Field(ge=1, le=MOST_TRIALS)
    batch: int = Field(ge=1, le=MOST_TRIALS)
    overrides: list[str]
    folders: list[str]
    file: str | None


def read_search(folder: SweepFolder) -> Search:
    """Return what a folder's search is.

    Raises:
        DataError: that cannot be read.
    """
    try:
        return Search.model_validate(read_object(folder.search))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise DataError(f"{folder.search}: {where} cannot be read; search anew") from None


@dataclass(frozen=True)
class Plan:
    """A search and what it stands for.

    Attributes:
        search: as it was asked for.
        space: what each key may be.
        compose: overrides for each key -> the config.
        first: the config with the first value of each.
        task: of all trials.
        datasets: where data comes from.
    """

    search: Search
    space: Space
    compose: Compose
    first: Config
    task: Task
    datasets: Datasets


def plan_search(
    search: Search,
    space: Space,
    compose: Compose,
    configs: Sequence[Config],
    datasets: Datasets,
) -> Plan:
    """Return what a search stands for.

    Args:
        search: as it was asked for.
        space: what each key may be.
        compose: overrides for each key -> the config.
        configs: that there may be, one at least for each dataset.
        datasets: where their data comes from.

    Raises:
        ConfigError: trials would be chosen by their test score, or cannot be compared.
        DataError: a dataset is missing or too large.
    """
    tasks = dict[str, str]()
    for config in configs:
        dataset, name = datasets.load(config.dataset), config.dataset.name
        if dataset.monitored != "val":
            # The best of many trials would be the luckiest on the rows that are to judge it.
            raise ConfigError(
                f"dataset.val_fraction={config.dataset.val_fraction}: without validation rows a search would "
                f"choose by {dataset.monitored} scores; set dataset.val_fraction=0.2"
            )
        tasks[dataset.input_schema.task] = name
    if len(tasks) > 1:
        said = ", ".join(f"{name} is {task}" for task, name in tasks.items())
        raise ConfigError(f"--search: scores of different tasks cannot be compared ({said}); search one")
    _refuse_different_units(next(iter(tasks)), space, configs)
    return Plan(search, space, compose, configs[0], TASKS[next(iter(tasks))], datasets)


def _refuse_different_units(task: str, space: Space, configs: Sequence[Config]) -> None:
    """Refuse to rank trials by losses in different units, which each trial's own data or loss has.

    Raises:
        ConfigError: trials would have different losses; or standardised targets would be searched with other
            data, or with targets as they are.
    """
    settings = [dict(nested.items(to_dict(config))) for config in configs]
    losses = [key for key in space if key.lstrip("+~").partition(".")[0] == "loss"]
    if TASKS[task].monitor == "loss" and (losses or len({loss_kind(task, of) for of in settings}) > 1):
        raise ConfigError(
            "--search: values of different losses cannot rank trials; "
            f"give {' and '.join(losses) or 'loss'} one value"
        )
    units = {loss_unit(task, of) for of in settings}
    keys = [key for key in space if key.lstrip("+~").startswith("dataset.")]
    if len(units) > 1 or (keys and units != {None}):
        raise ConfigError(
            "--search: with dataset.standardize=true each trial's val loss is in a unit of its own, by which "
            f"trials cannot be ranked; give {' and '.join(keys) or 'dataset'} one value, or set "
            "dataset.standardize=false"
        )
