"""MNIST (LeCun et al. 1998)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.dataset import IdxOptions
from mlpkit.config.registry import choice
from mlpkit.config.section import Positive

if TYPE_CHECKING:
    from mlpkit.data.dataset import Dataset


@choice("dataset")
class MnistDataset(IdxOptions):
    """MNIST: 70,000 handwritten digits, 28×28."""

    name: Literal["mnist"]
    mean: float = Field(0.1307, description="pixel mean that standardize subtracts")
    std: Positive = Field(0.3081, description="pixel standard deviation that standardize divides by")

    def load(self, download: bool = True) -> "Dataset":
        """See `DatasetConfig.load`."""
        from mlpkit.data.images import DIGITS, load_idx

        return load_idx(self, "MNIST", DIGITS, download)
