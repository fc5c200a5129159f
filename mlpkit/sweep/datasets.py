"""The datasets of a sweep, each loaded once."""

from mlpkit.config.dataset import DatasetConfig
from mlpkit.data.dataset import Dataset
from mlpkit.data.load import load_dataset, table_of

MOST_KEPT = 400_000_000  # numbers of all tables: 1.6 GB


class Datasets:
    """Loads each dataset once; it is let go when another one than the last few is wanted."""

    def __init__(self, download: bool = True) -> None:
        """Begin with none; without `download`, data must be there."""
        self._kept: dict[str, tuple[str, Dataset]] = {}  # with the names of their tables
        self._download = download

    def load(self, config: DatasetConfig) -> Dataset:
        """Return a dataset.

        Raises:
            DataError: it is missing or cannot be used.
        """
        key, table = repr(config), table_of(config)  # JSON cannot say a folder that is not UTF-8
        if key not in self._kept:
            like = next((of for name, of in self._kept.values() if name == table), None)
            dataset = load_dataset(config, self._download, like)
            while self._kept and self._numbers() > MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = table, dataset
        return self._kept[key][1]

    def _numbers(self) -> int:
        tables = {
            id(split.all_inputs): split.all_inputs.numel()
            for _, dataset in self._kept.values()
            for split in dataset.splits.values()
        }
        return sum(tables.values())
