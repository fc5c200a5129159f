"""What every dataset has, and what it does: it makes splits of rows."""

from typing import TYPE_CHECKING

from pydantic import Field

from mlpkit.config.section import Fraction, NotNegative, Positive, Section

if TYPE_CHECKING:
    from mlpkit.data.dataset import Dataset
    from mlpkit.data.input_schema import InputSchema


class Augment(Section):
    """Random changes to each training image, drawn anew at every step."""

    rotation: float = Field(0.0, ge=0, le=180, description="largest rotation either way, in degrees")
    translation: NotNegative = Field(0.0, description="largest shift either way, in pixels")
    scale: Fraction = Field(0.0, description="largest change of size either way, as a fraction")


class DatasetConfig(Section):
    """A dataset. A new one has a name, options and `load`; for one that is computed see `Synthetic`."""

    name: str
    seed: int = Field(0, ge=0, lt=2**32, description="seed of the samples, the noise and the split")
    val_fraction: Fraction = Field(0.2, description="share of the rows held out to monitor training")
    standardize: bool = Field(False, description="scale inputs (and regression targets) in the model")

    def load(self, download: bool = True) -> "Dataset":
        """Return the splits, such as `mlpkit.data.dataset.split_at_random` makes of all rows.

        Args:
            download: whether missing files may be fetched.

        Raises:
            DataError: the data is missing or cannot be used; the line says what to do.
        """
        raise NotImplementedError(f"dataset={self.name} has no load")

    def load_as(self, trained: "InputSchema", download: bool = True) -> "Dataset":
        """Return the splits as a trained model reads them: what was fitted for it is not fitted again.

        Args:
            trained: what the model reads and says.
            download: see `load`.
        """
        return self.load(download)

    def fractions(self) -> tuple[float, float]:
        """Return the shares of the rows that are held out at random, as val and as test."""
        return self.val_fraction, 0.0

    def is_stratified(self) -> bool:
        """Whether each split that is dealt at random has the classes' shares of all rows."""
        return False

    def numbers(self) -> int:
        """Return how many numbers are computed for it: the config of a foreign file may ask for few."""
        return 0

    def divided_by(self) -> set[str]:
        """Return the options that decide nothing but how the rows are split.

        Datasets that differ in these alone have the same table, which is loaded once for a sweep.
        """
        return set()

    def augmentation(self) -> Augment | None:
        """Return how training images are changed at random, or None where the inputs are no images."""
        return None


class ImageOptions(DatasetConfig):
    """What every image dataset has; pixels are numbers from 0 to 1."""

    val_fraction: Fraction = Field(0.1, description="share of the training rows held out to monitor training")
    standardize: bool = Field(True, description="subtract mean and divide by std, in the model")
    mean: float | None = Field(
        None, description="pixel mean that standardize subtracts; null: that of the training rows' channels"
    )
    std: Positive | None = Field(
        None, description="pixel standard deviation that standardize divides by; null: likewise"
    )
    augment: Augment = Field(Augment(), description="random changes to the training images")

    def divided_by(self) -> set[str]:
        """See `DatasetConfig.divided_by`."""
        if self.standardize and (self.mean is None or self.std is None):
            return set()  # the scaling depends on which rows are trained on
        return {"seed", "val_fraction", "test_fraction"}

    def augmentation(self) -> Augment | None:
        """See `DatasetConfig.augmentation`."""
        return self.augment


class IdxOptions(ImageOptions):
    """Where the files of an MNIST-like dataset lie."""

    root: str | None = Field(
        None, description="folder of the files; null: $MLPKIT_DATA, else the user's cache"
    )
    download: bool = Field(True, description="fetch missing files")
