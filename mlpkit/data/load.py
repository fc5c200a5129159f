"""Loads the dataset that a config names."""

from mlpkit.config.dataset import DatasetConfig
from mlpkit.data.dataset import Dataset, deal_rows, divide_again
from mlpkit.errors import DataError


def load_dataset(config: DatasetConfig, download: bool = True, like: Dataset | None = None) -> Dataset:
    """Return the dataset that the config names.

    Args:
        config: of the dataset.
        download: fetch missing files; else the files must be there.
        like: a dataset with the same `table_of`, whose table is shared instead of read again.

    Raises:
        DataError: the data is missing or cannot be used; the line says what to do.
    """
    if like is None or like.order is None:
        dataset = config.load(download)
    else:
        dataset = divide_again(like, deal_rows(config, len(like.splits["train"].all_inputs)))
    train = dataset.splits["train"]
    if dataset.input_schema.classes and bool((train.targets == train.targets[0]).all()):
        raise DataError(
            f"dataset={config.name}: the {len(train)} training rows are all of one class; have more rows"
        )
    return dataset


def table_of(config: DatasetConfig) -> str:
    """Return what decides the rows of a dataset's table; with images it is all but how they are divided."""
    return repr(config.model_dump(exclude=config.divided_by()))
