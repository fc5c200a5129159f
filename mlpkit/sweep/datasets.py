"""The datasets of a sweep, each loaded once."""

from pathlib import Path

from mlpkit.config.dataset import DatasetConfig
from mlpkit.data.dataset import Dataset
from mlpkit.data.load import load_dataset, table_of
from mlpkit.runs.trust import Trust

MOST_KEPT = 400_000_000  # numbers of all tables: 1.6 GB


class Datasets:
    """Loads each dataset once; it is let go when another one than the last few is wanted."""

    def __init__(self, trust: Trust = Trust.OWN, asked_by: Path = Path()) -> None:
        """Begin with none.

        Args:
            trust: says whether missing data is fetched, and how large a dataset is drawn.
            asked_by: the file that the configs come from, where they are foreign.
        """
        self._kept: dict[str, tuple[str, Dataset]] = {}  # with the names of their tables
        self._trust, self._asked_by = trust, asked_by
        self._remarks: list[str] | None = None  # of the first dataset

    def load(self, config: DatasetConfig) -> Dataset:
        """Return a dataset.

        Raises:
            DataError: it is missing, too large or cannot be used.
        """
        key, table = repr(config), table_of(config)  # JSON cannot say a folder that is not UTF-8
        if key not in self._kept:
            like = next((of for name, of in self._kept.values() if name == table), None)
            self._trust.check_data(config, self._asked_by)
            dataset = load_dataset(config, self._trust.may_download, like)
            if self._remarks is None:
                self._remarks = list(dataset.remarks)
            while self._kept and self._numbers() > MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = table, dataset
        return self._kept[key][1]

    def take_remarks(self) -> list[str]:
        """Return what is to be said of the first dataset, the first time; other folds and seeds are alike."""
        taken, self._remarks = self._remarks or [], []
        return taken

    def _numbers(self) -> int:
        tables = {
            id(split.all_inputs): split.all_inputs.numel()
            for _, dataset in self._kept.values()
            for split in dataset.splits.values()
        }
        return sum(tables.values())
