"""scikit-learn's diabetes."""

from typing import ClassVar, Literal

from mlpkit.config.registry import choice
from mlpkit.data.table_config import BuiltInTable


@choice("dataset")
class DiabetesDataset(BuiltInTable):
    """442 diabetes patients and the progression of their disease after a year; from scikit-learn."""

    name: Literal["diabetes"]
    target_name = "progression"
    load_options: ClassVar = {"scaled": False}
