"""scikit-learn's breast_cancer."""

from typing import Literal

from mlpkit.config.registry import choice
from mlpkit.data.table_config import BuiltInTable


@choice("dataset")
class BreastCancerDataset(BuiltInTable):
    """569 breast tumours, malignant or benign, by cell nuclei; from scikit-learn."""

    name: Literal["breast_cancer"]
    target_name = "diagnosis"
