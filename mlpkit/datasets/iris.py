"""scikit-learn's iris."""

from typing import Literal

from mlpkit.config.registry import choice
from mlpkit.data.table_config import BuiltInTable


@choice("dataset")
class IrisDataset(BuiltInTable):
    """150 irises of three species (Fisher 1936); from scikit-learn."""

    name: Literal["iris"]
    target_name = "species"
