"""Loads the dataset of a config."""

from dataclasses import replace

from mlpkit.config.dataset import DatasetConfig
from mlpkit.config.plugins import calling, described
from mlpkit.data.dataset import Dataset
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.splits import resplit
from mlpkit.data.weights import check_weights
from mlpkit.errors import DataError


def load_dataset(
    config: DatasetConfig,
    download: bool = True,
    like: Dataset | None = None,
    trained: InputSchema | None = None,
) -> Dataset:
    """Return the dataset of a config.

    Args:
        config: the dataset's config.
        download: download missing files.
        like: a dataset with the same `table_of`; its table is shared instead of read again.
        trained: the input schema of a trained model that will be used on the dataset.

    Raises:
        DataError: the data is missing or cannot be used; the message says what to do.
    """
    with calling(described("dataset", config), config):
        if trained is not None:
            dataset = config.load_as(trained, download)
        elif like is None or like.order is None:
            dataset = config.load(download)
        else:
            dataset = resplit(like, config)
    check_classes(dataset)
    check_weights(dataset)
    return replace(dataset, title=config.title())


def check_classes(dataset: Dataset) -> None:
    """Refuse a dataset whose training rows all have the same class.

    Raises:
        DataError: they do.
    """
    train = dataset.splits["train"]
    if dataset.disk is not None:
        return  # checked when the table was written
    if dataset.input_schema.classes and bool((train.targets == train.targets[0]).all()):
        raise DataError(
            f"dataset={dataset.name}: the {len(train)} training rows all have the same class; add rows of "
            "other classes"
        )


def table_of(config: DatasetConfig) -> str:
    """Return a key of the table: datasets with equal keys have the same table, perhaps split differently."""
    return repr(config.model_dump(exclude=config.divided_by()))
