"""Base classes of datasets."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator

from mlpkit.config.section import Fraction, NotNegative, Positive, Section, rule_error

if TYPE_CHECKING:
    from mlpkit.data.dataset import Dataset
    from mlpkit.data.input_schema import InputSchema


class Augment(Section):
    """Random augmentation of each training image, drawn anew at every step."""

    rotation: float = Field(0.0, ge=0, le=180, description="largest rotation either way, in degrees")
    translation: NotNegative = Field(0.0, description="largest shift either way, in pixels")
    scale: Fraction = Field(0.0, description="largest change of size either way, as a fraction")
    elastic: NotNegative = Field(
        0.0, description="largest elastic displacement, in pixels: root of the mean square over an image"
    )
    elastic_sigma: float = Field(
        4.0, ge=0.1, le=1000, description="smoothness of elastic displacements: std, in pixels, of a Gaussian"
    )
    horizontal_flip: Fraction = Field(0.0, description="share of the images that are mirrored left to right")
    brightness: Fraction = Field(0.0, description="largest change of brightness either way, as a fraction")
    cutout: int = Field(0, ge=0, le=10**4, description="side of a black square at a random place, in pixels")
    mixup: float = Field(
        0.0,
        ge=0,
        le=100,
        description="mix each image and its target with another of the batch: the shares are drawn from the "
        "beta distribution with this for both parameters; 0: not",
    )

    @field_validator("mixup")
    @classmethod
    def _mixes_enough(cls, mixup: float) -> float:
        if 0 < mixup < 0.01:  # torch's draws are not those of the distribution then
            raise rule_error(f"{mixup:g}: must be 0 or at least 0.01")
        return mixup

    def changes_anything(self) -> bool:
        """Whether any image is changed."""
        changes = (self.rotation, self.translation, self.scale, self.elastic, self.horizontal_flip)
        return any((*changes, self.brightness, self.cutout, self.mixup))

    def alone(self) -> dict[str, "Augment"]:
        """Return each change alone, by the option that asks for it."""
        sigma = {"elastic_sigma": self.elastic_sigma}
        options = {name: value for name, value in self.model_dump().items() if name not in sigma and value}
        return {name: Augment.model_validate({**sigma, name: value}) for name, value in options.items()}


class ViewOptions(Section):
    """Test-time augmentation: the mean prediction over copies of an image, with all mixes of changes."""

    rotation: float = Field(
        0.0,
        ge=0,
        le=180,
        description="degrees that the copies are turned, half of them to each side",
    )
    translation: NotNegative = Field(
        0.0, description="pixels that the copies are shifted along both sides, a quarter to each corner"
    )


class DatasetConfig(Section):
    """A dataset. A new one defines a name, options and `load`; for generated data see `Synthetic`.

    Attributes:
        has_many_inputs: whether there are mostly hundreds of inputs; `optimizer.lr=auto` is smaller then.
        inferred_options: options whose values `load` infers if they are null; see `Dataset.inferred`.
    """

    to_define: ClassVar[tuple[str, ...]] = ("load",)
    has_many_inputs: ClassVar[bool] = False
    inferred_options: ClassVar[tuple[str, ...]] = ()
    name: str
    seed: int = Field(0, ge=0, lt=2**32, description="seed of the samples, the noise and the split")
    val_fraction: Fraction = Field(0.2, description="share of the rows held out to monitor training")
    standardize: bool = Field(False, description="scale inputs (and regression targets) in the model")

    def load(self, download: bool = True) -> "Dataset":
        """Return the dataset with its splits; `mlpkit.data.dataset.split_at_random` makes them from all rows.

        Args:
            download: whether missing files may be downloaded.

        Raises:
            DataError: the data is missing or cannot be used; the message says what to do.
        """
        raise NotImplementedError(f"dataset={self.name} has no load")

    def load_as(self, trained: "InputSchema", download: bool = True) -> "Dataset":
        """Load the dataset for a trained model: its encoder and classes are used, and not fitted again.

        Args:
            trained: the input schema of the model.
            download: see `load`.
        """
        return self.load(download)

    def title(self) -> str:
        """Return the name for run folders: the dataset's name, or that of the user's file."""
        return self.name

    def paths(self) -> tuple[str, ...]:
        """Return the user's files or folders that hold the training rows; empty for data of other kinds."""
        return ()

    def weight_name(self) -> str | None:
        """Return the name of the column or the array of the rows' weights, or None."""
        return None

    def array_names(self) -> tuple[str | None, str | None]:
        """Return the names of inputs and targets in files of arrays; None: the usual ones."""
        return None, None

    def scales_inputs(self) -> bool:
        """Whether the model's first layer standardises the inputs."""
        return self.standardize

    def transform_of_targets(self) -> str:
        """Return how regression targets are transformed before training: none, log or yeo_johnson."""
        return "none"

    def clips_predictions(self) -> bool:
        """Return whether predictions of a regression are clipped to the range of the training targets."""
        return False

    def fractions(self) -> tuple[float, float]:
        """Return the fractions of the rows that are held out at random for val and for test."""
        return self.val_fraction, 0.0

    def is_stratified(self) -> bool:
        """Whether random splits are stratified by class."""
        return False

    def numbers(self) -> int:
        """Return how many numbers `load` generates; the size that a foreign config may ask for is limited."""
        return 0

    def divided_by(self) -> set[str]:
        """Return the options that only affect how the rows are split.

        Datasets that differ only in these share one table, which a sweep loads once.
        """
        return set()

    def augmentation(self) -> Augment | None:
        """Return the random augmentation of the training images; None if the inputs are not images."""
        return None

    def views(self) -> "ViewOptions | None":
        """Return the views of an image whose mean prediction is taken; None: the image alone."""
        return None


class ImageOptions(DatasetConfig):
    """Options of every image dataset; pixels are numbers from 0 to 1."""

    has_many_inputs = True
    val_fraction: Fraction = Field(0.1, description="share of the training rows held out to monitor training")
    standardize: bool = Field(True, description="subtract mean and divide by std, in the model")
    mean: float | None = Field(
        None, description="pixel mean that standardize subtracts; null: that of the training rows' channels"
    )
    std: Positive | None = Field(
        None, description="pixel standard deviation that standardize divides by; null: likewise"
    )
    augment: Augment = Field(Augment(), description="random changes to the training images")
    test_time_augment: ViewOptions = Field(
        ViewOptions(), description="copies of an image, whose mean prediction is taken"
    )

    def divided_by(self) -> set[str]:
        """See `DatasetConfig.divided_by`."""
        if self.standardize and (self.mean is None or self.std is None):
            return set()  # the scaling depends on which rows are trained on
        return {"seed", "val_fraction", "test_fraction"}

    def augmentation(self) -> Augment | None:
        """See `DatasetConfig.augmentation`."""
        return self.augment

    def views(self) -> ViewOptions | None:
        """See `DatasetConfig.views`."""
        views = self.test_time_augment
        return views if views.rotation or views.translation else None


class IdxOptions(ImageOptions):
    """Options of an MNIST-like dataset: where its IDX files are."""

    root: str | None = Field(
        None, description="folder of the files; null: $MLPKIT_DATA, else the user's cache"
    )
    download: bool = Field(True, description="fetch missing files")
