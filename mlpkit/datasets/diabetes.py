"""scikit-learn's diabetes."""

from typing import TYPE_CHECKING, Literal

from mlpkit.config.registry import choice
from mlpkit.data.table_options import TableOptions

if TYPE_CHECKING:
    from mlpkit.data.raw_table import RawTable


@choice("dataset")
class DiabetesDataset(TableOptions):
    """442 diabetes patients and their disease after a year; from scikit-learn."""

    name: Literal["diabetes"]

    def raw(self) -> "RawTable":
        """See `TableOptions.raw`."""
        from functools import partial

        from sklearn.datasets import load_diabetes

        from mlpkit.data.built_in_tables import built_in

        return built_in("diabetes", partial(load_diabetes, scaled=False), "progression")

    def targets(self) -> tuple[str, ...]:
        """See `TableOptions.targets`."""
        return ("progression",)
