"""scikit-learn's breast_cancer."""

from typing import TYPE_CHECKING, Literal

from mlpkit.config.registry import choice
from mlpkit.data.table_options import TableOptions

if TYPE_CHECKING:
    from mlpkit.data.raw_table import RawTable


@choice("dataset")
class BreastCancerDataset(TableOptions):
    """569 breast tumours, malignant or benign, by cell nuclei; from scikit-learn."""

    name: Literal["breast_cancer"]

    def raw(self) -> "RawTable":
        """See `TableOptions.raw`."""
        from sklearn.datasets import load_breast_cancer

        from mlpkit.data.built_in_tables import built_in

        return built_in("breast_cancer", load_breast_cancer, "diagnosis")

    def targets(self) -> tuple[str, ...]:
        """See `TableOptions.targets`."""
        return ("diagnosis",)
