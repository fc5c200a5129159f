"""Datasets: what they are, and how each is made."""

from mlpkit.data.dataset import Dataset
from mlpkit.schema.dataset import DatasetConfig


def load_dataset(config: DatasetConfig) -> Dataset:
    """Return the dataset that the config names.

    Raises:
        DataError: the data is missing or cannot be used; the line says what to do.
    """
    # Only the chosen dataset's module is imported: images and moons need heavy libraries.
    if config.name in ("sum", "line", "moons"):
        from mlpkit.data import synthetic

        return synthetic.load(config)
    from mlpkit.data import images

    return images.load(config)
