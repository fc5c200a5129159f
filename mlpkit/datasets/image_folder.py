"""The user's pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from mlpkit.config.dataset import ImageOptions
from mlpkit.config.registry import choice
from mlpkit.config.section import AbsolutePath, Fraction
from mlpkit.errors import ConfigError

if TYPE_CHECKING:
    from mlpkit.data.dataset import Dataset
    from mlpkit.data.input_schema import InputSchema

Side = Annotated[int, Field(ge=1, le=4096)]


@choice("dataset")
class ImageFolderDataset(ImageOptions):
    """Pictures of your own: a folder for each class."""

    name: Literal["image_folder"]
    path: AbsolutePath | None = Field(
        None,
        description="folder with a folder for each class, or with train, val and test that hold such",
    )
    channels: Literal[1, 3] | None = Field(
        None, description="1: grey, 3: colour; null: grey if all pictures are grey"
    )
    size: Annotated[tuple[Side, Side], Field(strict=False)] | None = Field(
        None, description="[height, width] to which pictures are resized; null: the most common size"
    )
    invert: bool = Field(False, description="invert pictures that are dark on light")
    test_fraction: Fraction = Field(0.2, description="share of the rows held out for the final score")

    def title(self) -> str:
        """See `DatasetConfig.title`."""
        from mlpkit.data.table_format import file_title

        return file_title(self.path or "") or self.name

    def paths(self) -> tuple[str, ...]:
        """See `DatasetConfig.paths`."""
        return (self.path,) if self.path else ()

    def load(self, download: bool = True) -> "Dataset":
        """See `DatasetConfig.load`."""
        return self._load()

    def load_as(self, trained: "InputSchema", download: bool = True) -> "Dataset":
        """See `DatasetConfig.load_as`: the size, the channels and the classes are the model's."""
        return self._load(trained) if trained.is_image else self._load()

    def _load(self, trained: "InputSchema | None" = None) -> "Dataset":
        import torch

        from mlpkit.data.dataset import Split
        from mlpkit.data.images import image_dataset
        from mlpkit.data.input_schema import OwnPictures
        from mlpkit.data.overlaps import overlaps
        from mlpkit.data.picture_folder import list_pictures, read_pixels
        from mlpkit.data.splits import gather_splits, split_remaining

        if self.path is None:
            raise ConfigError("dataset.path: no folder is named; write dataset.path=FOLDER, such as pictures")
        listing = list_pictures(Path(self.path), trained.classes if trained else None)
        pixels = read_pixels(listing, self.channels, self.size)
        if trained and pixels.values.shape[1:] != trained.picture_shape:
            channels, height, width = trained.picture_shape
            pixels = read_pixels(listing, channels, (height, width))
        rows, *shape = pixels.values.shape
        labels = torch.tensor(listing.labels)
        rows_by_split = split_remaining(self, labels, listing.splits or {"train": slice(None)})
        # Reorder the bytes before converting them to float32: this moves a quarter of the memory.
        splits, order = gather_splits(
            torch.from_numpy(pixels.values).reshape(rows, -1), labels, rows_by_split
        )
        shared = overlaps(splits, "picture")
        inputs, targets = splits["train"].all_inputs / 255, splits["train"].all_targets
        if self.invert:
            inputs = 1 - inputs
        splits = {name: Split(inputs, targets, split.rows) for name, split in splits.items()}
        return image_dataset(
            self,
            (splits, order if listing.splits is None else None),
            tuple(shape[1:] if shape[0] == 1 else shape),
            listing.classes,
            OwnPictures(self.invert),
            (listing.describe(), *pixels.remarks, *shared),
        )

    def fractions(self) -> tuple[float, float]:
        """See `DatasetConfig.fractions`."""
        return self.val_fraction, self.test_fraction

    def is_stratified(self) -> bool:
        """See `DatasetConfig.is_stratified`."""
        return True
