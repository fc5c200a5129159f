"""The base class of generated datasets."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from mlpkit.config.dataset import DatasetConfig
from mlpkit.config.plugins import described, is_own
from mlpkit.config.section import Fraction
from mlpkit.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

    from mlpkit.data.dataset import Dataset
    from mlpkit.data.input_schema import InputSchema


class Synthetic(DatasetConfig):
    """A generated dataset. A new one defines a name, options, `input_schema` and `draw`."""

    to_define: ClassVar[tuple[str, ...]] = ("input_schema", "draw")
    n: int = Field(500, ge=1, le=10**7, description="number of rows in all splits together")
    test_fraction: Fraction = Field(0.2, description="share of the rows held out for the final score")

    def input_schema(self) -> "InputSchema":
        """Return the task and the names of features, targets and classes."""
        raise NotImplementedError(f"dataset={self.name} has no input_schema")

    def draw(self) -> "tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]":
        """Generate inputs, targets and, optionally, weights of all rows; they depend only on the options.

        Inputs are float32 (n, features). Targets are float32 (n, targets) for regression, float32 zeros and
        ones (n, labels) for multilabel, and int64 labels (n,) from 0 on otherwise. Weights are float32 (n,);
        see `Split`.
        """
        raise NotImplementedError(f"dataset={self.name} has no draw")

    def load(self, download: bool = True) -> "Dataset":
        """See `DatasetConfig.load`."""
        from torch import as_tensor

        from mlpkit.data.splits import split_at_random

        inputs, targets, *weights = (as_tensor(values) for values in self.draw())
        if not (inputs.isfinite().all() and targets.isfinite().all()):
            if is_own(type(self)):
                raise DataError(f"{described('dataset', self)}: draw returns nan or infinite values")
            raise ConfigError(
                f"dataset={self.name}: its options give values beyond float32; choose smaller ones"
            )
        return split_at_random(self, self.input_schema(), inputs, targets, *weights)

    def fractions(self) -> tuple[float, float]:
        """See `DatasetConfig.fractions`."""
        return self.val_fraction, self.test_fraction

    def numbers(self) -> int:
        """See `DatasetConfig.numbers`; by default two for each row."""
        return 2 * self.n
