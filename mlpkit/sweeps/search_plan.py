"""The settings of a search, as search.json stores them, and what is built from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlpkit.analysis.metric import loss_kind, loss_unit, scaled_by
from mlpkit.config import nested
from mlpkit.config.config import Config, to_dict
from mlpkit.errors import ConfigError, DataError
from mlpkit.folders.sweep_folder import SweepFolder
from mlpkit.sweeps.datasets import Datasets
from mlpkit.sweeps.grid import MAX_SEEDS, MAX_TRIALS, Interval
from mlpkit.system.plain_json import read_object
from mlpkit.tasks import Task, task_of

Space = Mapping[str, Interval | tuple[str, ...]]
Compose = Callable[[Sequence[str]], Config]


class Search(BaseModel):
    """The settings of a search: the content of search.json.

    Attributes:
        sampler: name of the sampler, which chooses the trials.
        pruner: name of the pruner, which ends bad trials early.
        trials: number of trials.
        batch: number of trials that are sampled and trained at once.
        seeds: number of runs of each trial, with different seeds; their mean score is the trial's.
        overrides: the overrides of the command line, including those that are searched.
        folders: extra config folders (--config-dir).
        file: a whole config to start from (--config).
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    sampler: Literal["tpe", "random", "cmaes"]
    pruner: Literal["none", "median", "hyperband", "halving"]
    trials: int = Field(ge=1, le=MAX_TRIALS)
    batch: int = Field(ge=1, le=MAX_TRIALS)
    seeds: int = Field(1, ge=1, le=MAX_SEEDS)
    overrides: list[str]
    folders: list[str]
    file: str | None


def read_search(folder: SweepFolder) -> Search:
    """Return the search settings in a sweep folder.

    Raises:
        DataError: search.json cannot be read.
    """
    try:
        return Search.model_validate(read_object(folder.search))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise DataError(f"{folder.search}: {where} cannot be read; search anew") from None


@dataclass(frozen=True)
class SearchPlan:
    """A checked search, ready to run.

    Attributes:
        search: its settings.
        space: the values of each searched key.
        compose: composes a config from an override for each searched key.
        first: the config with the first value of each key.
        task: the task of all trials.
        datasets: loads their data.
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
) -> SearchPlan:
    """Check a search and return its plan.

    Args:
        search: its settings.
        space: the values of each searched key.
        compose: composes a config from an override for each searched key.
        configs: possible configs, at least one for each dataset.
        datasets: loads their data.

    Raises:
        ConfigError: there is no validation split, or trials cannot be compared.
        DataError: a dataset is missing or too large.
    """
    tasks = dict[str, str]()
    for config in configs:
        dataset, name = datasets.load(config.dataset), config.dataset.name
        if dataset.monitored != "val":
            # The best of many trials on the test rows would be overfitted to them.
            raise ConfigError(
                f"dataset.val_fraction={config.dataset.val_fraction}: without validation rows a search would "
                f"choose by {dataset.monitored} scores; set dataset.val_fraction=0.2"
            )
        tasks[dataset.input_schema.task] = name
    if len(tasks) > 1:
        said = ", ".join(f"{name} is {task}" for task, name in tasks.items())
        raise ConfigError(f"--search: scores of different tasks cannot be compared ({said}); search one")
    _refuse_different_units(next(iter(tasks)), space, configs)
    task = task_of(configs[0], next(iter(tasks)), "val")
    return SearchPlan(search, space, compose, configs[0], task, datasets)


def _refuse_different_units(task: str, space: Space, configs: Sequence[Config]) -> None:
    """Refuse to rank trials by losses in different units.

    Raises:
        ConfigError: the trials differ in their loss; or targets are standardised, and the trials differ in
            their data or in `standardize`.
    """
    settings = [dict(nested.items(to_dict(config))) for config in configs]
    losses = [key for key in space if key.lstrip("+~").partition(".")[0] == "loss"]
    if task_of(configs[0], task).monitor == "loss" and (
        losses or len({loss_kind(task, each) for each in settings}) > 1
    ):
        raise ConfigError(
            "--search: values of different losses cannot rank trials; "
            f"give {' and '.join(losses) or 'loss'} one value"
        )
    units = {loss_unit(task, each) for each in settings}
    keys = [key for key in space if key.lstrip("+~").startswith("dataset.")]
    if len(units) > 1 or (keys and units != {None}):
        why = scaled_by(settings)
        way = ", or set dataset.standardize=false" if why == "dataset.standardize" else ""
        raise ConfigError(
            f"--search: with {why} each trial's val loss is in a unit of its own, by which trials cannot be "
            f"ranked; give {' and '.join(keys) or 'dataset'} one value{way}"
        )
