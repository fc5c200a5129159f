"""Datasets and their options."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mlpkit.config.section import Fraction, NotNegative, Positive, Section, require_below, rule_error

LARGEST = 500_000_000  # numbers that a drawn dataset may hold: 2 GB


class DatasetOptions(Section):
    """What every dataset has."""

    seed: int = Field(0, ge=0, lt=2**32, description="seed of the samples, the noise and the split")
    val_fraction: Fraction = Field(0.2, description="share of the rows held out to monitor training")
    standardize: bool = Field(False, description="scale inputs (and regression targets) in the model")


class Synthetic(DatasetOptions):
    """A dataset that is drawn, and split into train, val and test."""

    n: int = Field(500, ge=1, le=10**7, description="number of rows in all splits together")
    test_fraction: Fraction = Field(0.2, description="share of the rows held out for the final score")


class SumDataset(Synthetic):
    """Sum of numbers: y is the sum of the terms."""

    name: Literal["sum"]
    n: int = Field(1000, ge=1, le=10**7, description="number of rows in all splits together")
    terms: int = Field(2, ge=1, le=4096, description="how many numbers are added")
    low: float = Field(0.0, description="lower end of the terms")
    high: float = Field(1.0, description="upper end of the terms")
    noise: NotNegative = Field(0.0, description="standard deviation of the noise on y")

    @model_validator(mode="after")
    def _check(self) -> Self:
        require_below(self.low, self.high)
        if self.n * self.terms > LARGEST:
            raise rule_error(f"n={self.n} rows of terms={self.terms} are more than {LARGEST:,} numbers")
        return self


class LineDataset(Synthetic):
    """Noisy line: y = slope x + intercept + noise ε."""

    name: Literal["line"]
    n: int = Field(100, ge=1, le=10**7, description="number of rows in all splits together")
    slope: float = Field(3.0, description="slope of the true line")
    intercept: float = Field(2.0, description="intercept of the true line")
    noise: NotNegative = Field(2.0, description="standard deviation of the noise on y")
    x: Literal["linspace", "uniform", "normal"] = Field("linspace", description="distribution of x")
    low: float = Field(0.0, description="lower end of x, for linspace and uniform")
    high: float = Field(10.0, description="upper end of x, for linspace and uniform")
    mean: float = Field(0.0, description="mean of x, for normal")
    std: Positive = Field(1.0, description="standard deviation of x, for normal")

    @model_validator(mode="after")
    def _check(self) -> Self:
        require_below(self.low, self.high)
        return self


class MoonsDataset(Synthetic):
    """Two interleaving half circles (scikit-learn's make_moons)."""

    name: Literal["moons"]
    noise: NotNegative = Field(0.1, description="standard deviation of the noise on the points")


class Augment(Section):
    """Random changes to each training image, drawn anew at every step."""

    rotation: float = Field(0.0, ge=0, le=180, description="largest rotation either way, in degrees")
    translation: NotNegative = Field(0.0, description="largest shift either way, in pixels")
    scale: Fraction = Field(0.0, description="largest change of size either way, as a fraction")


class ImageOptions(DatasetOptions):
    """What every image dataset has; pixels are numbers from 0 to 1."""

    val_fraction: Fraction = Field(0.1, description="share of the training rows held out to monitor training")
    standardize: bool = Field(True, description="subtract mean and divide by std, in the model")
    mean: float = Field(0.0, description="pixel mean that standardize subtracts")
    std: Positive = Field(1.0, description="pixel standard deviation that standardize divides by")
    augment: Augment = Field(Augment(), description="random changes to the training images")


class IdxOptions(ImageOptions):
    """Where the files of an MNIST-like dataset lie."""

    root: str | None = Field(
        None, description="folder of the files; null: $MLPKIT_DATA, else the user's cache"
    )
    download: bool = Field(True, description="fetch missing files")


class MnistDataset(IdxOptions):
    """MNIST: 70,000 handwritten digits, 28×28."""

    name: Literal["mnist"]
    mean: float = Field(0.1307, description="pixel mean that standardize subtracts")
    std: Positive = Field(0.3081, description="pixel standard deviation that standardize divides by")


class FashionMnistDataset(IdxOptions):
    """Fashion-MNIST: 70,000 pictures of clothes, 28×28."""

    name: Literal["fashion_mnist"]
    mean: float = Field(0.2860, description="pixel mean that standardize subtracts")
    std: Positive = Field(0.3530, description="pixel standard deviation that standardize divides by")


class DigitsDataset(ImageOptions):
    """scikit-learn's 1797 handwritten digits, 8×8; needs no download."""

    name: Literal["digits"]
    test_fraction: Fraction = Field(0.2, description="share of the rows held out for the final score")
    mean: float = Field(0.3053, description="pixel mean that standardize subtracts")
    std: Positive = Field(0.3760, description="pixel standard deviation that standardize divides by")


DatasetConfig = Annotated[
    SumDataset | LineDataset | MoonsDataset | MnistDataset | FashionMnistDataset | DigitsDataset,
    Field(discriminator="name"),
]
