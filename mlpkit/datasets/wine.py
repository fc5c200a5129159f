"""scikit-learn's wine."""

from typing import TYPE_CHECKING, Literal

from mlpkit.config.registry import choice
from mlpkit.data.table_options import TableOptions

if TYPE_CHECKING:
    from mlpkit.data.raw_table import RawTable


@choice("dataset")
class WineDataset(TableOptions):
    """178 wines of three cultivars, by chemical analysis; from scikit-learn."""

    name: Literal["wine"]

    def raw(self) -> "RawTable":
        """See `TableOptions.raw`."""
        from sklearn.datasets import load_wine

        from mlpkit.data.built_in_tables import built_in

        return built_in("wine", load_wine, "cultivar")

    def targets(self) -> tuple[str, ...]:
        """See `TableOptions.targets`."""
        return ("cultivar",)
