"""What the jobs of a sweep may do: all where the command line is the user's own, less in a found folder."""

from dataclasses import dataclass
from pathlib import Path

from mlpkit.config.config import Config
from mlpkit.config.dataset import DatasetConfig, SumDataset
from mlpkit.errors import DataError
from mlpkit.models.architecture import architecture, count
from mlpkit.runs import bounds
from mlpkit.sweep.datasets import Datasets


@dataclass(frozen=True)
class Allowed:
    """What jobs may do.

    Attributes:
        owned: their configs are the user's own, and not what lay in a folder: missing data may be fetched.
        large: models and drawn datasets of any size are taken.
    """

    owned: bool = True
    large: bool = True


def refuse_large_data(config: DatasetConfig, path: Path) -> None:
    """Refuse a drawn dataset that is larger than a stranger's may be.

    Raises:
        DataError: it is.
    """
    bounds.refuse_large(config, config.terms if isinstance(config, SumDataset) else 2, path)


def refuse_large(config: Config, datasets: Datasets, path: Path) -> None:
    """Refuse what is larger than a stranger's may be, before memory is taken for it.

    Args:
        config: of a job.
        datasets: where its data comes from.
        path: the file that asks for it.

    Raises:
        DataError: its dataset or its model is, or its data is missing.
        ConfigError: its parts do not go together.
    """
    refuse_large_data(config.dataset, path)
    number = count(architecture(config, datasets.load(config.dataset).signature))
    if number > bounds.LARGEST_OPENED:
        raise DataError(f"{path}: its config asks for {number:,} parameters; --allow-large takes them")
