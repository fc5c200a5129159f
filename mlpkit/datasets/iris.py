"""scikit-learn's iris."""

from typing import TYPE_CHECKING, Literal

from mlpkit.config.registry import choice
from mlpkit.data.table_options import TableOptions

if TYPE_CHECKING:
    from mlpkit.data.raw_table import RawTable


@choice("dataset")
class IrisDataset(TableOptions):
    """150 irises of three species (Fisher 1936); from scikit-learn."""

    name: Literal["iris"]

    def raw(self) -> "RawTable":
        """See `TableOptions.raw`."""
        from sklearn.datasets import load_iris

        from mlpkit.data.built_in_tables import built_in

        return built_in("iris", load_iris, "species")

    def targets(self) -> tuple[str, ...]:
        """See `TableOptions.targets`."""
        return ("species",)
