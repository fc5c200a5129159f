"""Loads the dataset that a config names."""

from mlpkit.config.dataset import DatasetConfig
from mlpkit.data.dataset import Dataset, resplit
from mlpkit.data.input_schema import InputSchema
from mlpkit.errors import DataError


def load_dataset(
    config: DatasetConfig,
    download: bool = True,
    like: Dataset | None = None,
    trained: InputSchema | None = None,
) -> Dataset:
    """Return the dataset that the config names.

    Args:
        config: of the dataset.
        download: fetch missing files; else the files must be there.
        like: a dataset with the same `table_of`, whose table is shared instead of read again.
        trained: what a model reads that is used on the dataset.

    Raises:
        DataError: the data is missing or cannot be used; the line says what to do.
    """
    if trained is not None:
        dataset = config.load_as(trained, download)
    elif like is None or like.order is None:
        dataset = config.load(download)
    else:
        dataset = resplit(like, config)
    check_classes(dataset)
    return dataset


def check_classes(dataset: Dataset) -> None:
    """Refuse training rows that are all of one class.

    Raises:
        DataError: they are.
    """
    train = dataset.splits["train"]
    if dataset.input_schema.classes and bool((train.targets == train.targets[0]).all()):
        raise DataError(
            f"dataset={dataset.name}: the {len(train)} training rows are all of one class; have more rows"
        )


def table_of(config: DatasetConfig) -> str:
    """Return what decides the rows of a dataset's table; with images it is all but how they are divided."""
    return repr(config.model_dump(exclude=config.divided_by()))
