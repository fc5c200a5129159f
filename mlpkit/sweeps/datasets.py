"""Caches the datasets of a sweep."""

from pathlib import Path

from mlpkit.config.dataset import DatasetConfig
from mlpkit.data.dataset import Dataset
from mlpkit.data.load import load_dataset, table_of
from mlpkit.folders.trust import Trust

MAX_NUMBERS = 400_000_000  # in all cached tables: 1.6 GB


class Datasets:
    """Loads each dataset once; the oldest ones are dropped when the cache is full."""

    def __init__(self, trust: Trust = Trust.OWN, source: Path = Path()) -> None:
        """Start with an empty cache.

        Args:
            trust: decides whether missing data is downloaded and how large a synthetic dataset may be.
            source: the file that foreign configs come from.
        """
        self._cache: dict[str, tuple[str, Dataset]] = {}  # config -> (table name, dataset)
        self._trust, self._source = trust, source
        self._remarks: list[str] | None = None  # about the first dataset

    def load(self, config: DatasetConfig) -> Dataset:
        """Return a dataset.

        Raises:
            DataError: the dataset is missing, too large or unusable.
        """
        key, table = repr(config), table_of(config)  # not JSON, which cannot hold a path that is not UTF-8
        if key not in self._cache:
            same_table = next((dataset for name, dataset in self._cache.values() if name == table), None)
            self._trust.check_data(config, self._source)
            dataset = load_dataset(config, self._trust.may_download, same_table)
            if self._remarks is None:
                self._remarks = list(dataset.remarks)
            while self._cache and self._cached_numbers() > MAX_NUMBERS:
                del self._cache[next(iter(self._cache))]
            self._cache[key] = table, dataset
        return self._cache[key][1]

    def take_remarks(self) -> list[str]:
        """Return the remarks about the first dataset, once; those about other folds and seeds are alike."""
        taken, self._remarks = self._remarks or [], []
        return taken

    def _cached_numbers(self) -> int:
        tables = {
            id(split.all_inputs): split.all_inputs.numel()
            for _, dataset in self._cache.values()
            for split in dataset.splits.values()
        }
        return sum(tables.values())
