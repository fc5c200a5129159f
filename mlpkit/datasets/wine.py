"""scikit-learn's wine."""

from typing import Literal

from mlpkit.config.registry import choice
from mlpkit.data.table_config import BuiltInTable


@choice("dataset")
class WineDataset(BuiltInTable):
    """178 wines of three cultivars, by chemical analysis; from scikit-learn."""

    name: Literal["wine"]
    target_name = "cultivar"
