"""Datasets: what they are, and how each is made."""

from mlpkit.data.dataset import Dataset
from mlpkit.errors import DataError
from mlpkit.schema.dataset import DatasetConfig


def load_dataset(config: DatasetConfig, download: bool = True) -> Dataset:
    """Return the dataset that the config names; without `download`, only from files that are there.

    Raises:
        DataError: the data is missing or cannot be used; the line says what to do.
    """
    # Only the chosen dataset's module is imported: images and moons need heavy libraries.
    if config.name in ("sum", "line", "moons"):
        from mlpkit.data import synthetic

        dataset = synthetic.load(config)
    else:
        from mlpkit.data import images

        dataset = images.load(config, download)
    train = dataset.splits["train"]
    if dataset.signature.classes and bool((train.targets == train.targets[0]).all()):
        raise DataError(
            f"dataset={config.name}: the {len(train)} training rows are all of one class; have more rows"
        )
    return dataset
