"""Base classes of table datasets: their options, and how they are loaded."""

from typing import TYPE_CHECKING, ClassVar

from mlpkit.data.table_options import TableOptions

if TYPE_CHECKING:
    from mlpkit.data.dataset import Dataset
    from mlpkit.data.input_schema import InputSchema
    from mlpkit.data.raw_table import RawTable


class TableConfig(TableOptions):
    """A table dataset. A new one defines a name, `raw` and `targets`."""

    def load(self, download: bool = True) -> "Dataset":
        """See `DatasetConfig.load`."""
        from mlpkit.data.table_dataset import table_dataset  # loads torch and pyarrow

        return table_dataset(self, self.raw())

    def load_as(self, trained: "InputSchema", download: bool = True) -> "Dataset":
        """See `DatasetConfig.load_as`: the encoder is the model's."""
        from mlpkit.data.table_dataset import table_dataset

        return table_dataset(self, self.raw(), trained)


class BuiltInTable(TableConfig):
    """One of scikit-learn's tables; its name is that of scikit-learn's function, without load_.

    Attributes:
        target_name: the name of the target column.
        load_options: arguments of scikit-learn's function.
    """

    target_name: ClassVar[str]
    load_options: ClassVar[dict[str, bool]] = {}

    def raw(self) -> "RawTable":
        """See `TableOptions.raw`."""
        from mlpkit.data.built_in_tables import built_in

        return built_in(self.name, self.target_name, self.load_options)

    def targets(self) -> tuple[str, ...]:
        """See `TableOptions.targets`."""
        return (self.target_name,)
