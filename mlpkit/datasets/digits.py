"""scikit-learn's digits."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.dataset import ImageOptions
from mlpkit.config.registry import choice
from mlpkit.config.section import Fraction, Positive

if TYPE_CHECKING:
    from mlpkit.data.dataset import Dataset


@choice("dataset")
class DigitsDataset(ImageOptions):
    """scikit-learn's 1797 handwritten digits, 8×8; needs no download."""

    name: Literal["digits"]
    has_many_inputs = False  # 64 pixels
    test_fraction: Fraction = Field(0.2, description="share of the rows held out for the final score")
    mean: float = Field(0.3053, description="pixel mean that standardize subtracts")
    std: Positive = Field(0.3760, description="pixel standard deviation that standardize divides by")

    def load(self, download: bool = True) -> "Dataset":
        """See `DatasetConfig.load`."""
        import torch
        from sklearn.datasets import load_digits

        from mlpkit.data.images import DIGITS, image_dataset
        from mlpkit.data.splits import gather_splits, split_rows

        pixels, labels = load_digits(return_X_y=True)
        inputs = torch.from_numpy(pixels).float() / 16  # scikit-learn's pixels are 0..16
        targets = torch.from_numpy(labels).long()
        divided = gather_splits(inputs, targets, split_rows(self, targets))
        return image_dataset(self, divided, (8, 8), DIGITS)

    def fractions(self) -> tuple[float, float]:
        """See `DatasetConfig.fractions`."""
        return self.val_fraction, self.test_fraction
