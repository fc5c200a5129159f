"""Fashion-MNIST (Xiao et al. 2017)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.dataset import IdxOptions
from mlpkit.config.registry import choice
from mlpkit.config.section import Positive

if TYPE_CHECKING:
    from mlpkit.data.dataset import Dataset

CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


@choice("dataset")
class FashionMnistDataset(IdxOptions):
    """Fashion-MNIST: 70,000 pictures of clothes, 28×28."""

    name: Literal["fashion_mnist"]
    mean: float = Field(0.2860, description="pixel mean that standardize subtracts")
    std: Positive = Field(0.3530, description="pixel standard deviation that standardize divides by")

    def load(self, download: bool = True) -> "Dataset":
        """See `DatasetConfig.load`."""
        from mlpkit.data.images import load_idx

        return load_idx(self, "FashionMNIST", CLOTHES, download)
