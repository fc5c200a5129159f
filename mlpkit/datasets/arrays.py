"""The user's arrays."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from mlpkit.config.byte_size import ByteSize
from mlpkit.config.dataset import Augment, DatasetConfig
from mlpkit.config.registry import choice
from mlpkit.config.section import AbsolutePath, Fraction, PathText, absolute
from mlpkit.errors import ConfigError

if TYPE_CHECKING:
    from mlpkit.data.dataset import Dataset
    from mlpkit.data.input_schema import InputSchema

Name = Annotated[str, Field(min_length=1, max_length=200)]


@choice("dataset")
class ArraysDataset(DatasetConfig):
    """Arrays of your own: a .npz with X and y, or two .npy."""

    inferred_options: ClassVar = ("memory",)
    name: Literal["arrays"]
    has_many_inputs = True
    path: AbsolutePath | None = Field(
        None, description="the .npz with inputs and targets, or the .npy with inputs"
    )
    inputs: Name | None = Field(
        None, description="name of the inputs in the .npz; null: X, inputs and others"
    )
    target: PathText | None = Field(
        None, description="name of the targets in the .npz; null: y, targets and others; or their .npy"
    )
    sample_weight: Name | None = Field(
        None, description="name of an array in the .npz that says how much each row counts in the loss"
    )
    classes: Annotated[tuple[Name, ...], Field(min_length=2, strict=False)] | None = Field(
        None, description="names of the classes, by label; null: the labels themselves"
    )
    test_fraction: Fraction = Field(0.2, description="share of the rows held out for the final score")
    standardize: bool = Field(True, description="scale inputs (and regression targets) in the model")
    augment: Augment = Field(Augment(), description="random changes to training images")
    memory: ByteSize | None = Field(
        None, description="larger inputs are trained on from the disk; null: half of the free memory"
    )

    @field_validator("target")
    @classmethod
    def _is_absolute(cls, target: str | None, info: ValidationInfo) -> str | None:
        """Make the path of a .npy absolute, so that it does not depend on the working directory."""
        path: Any = info.data.get("path")
        is_path = target is not None and path is not None and not path.lower().endswith(".npz")
        return absolute(target) if target is not None and is_path else target

    def array_names(self) -> tuple[str | None, str | None]:
        """See `DatasetConfig.array_names`."""
        is_npy = self.path is not None and not self.path.lower().endswith(".npz")
        return self.inputs, None if is_npy else self.target

    def weight_name(self) -> str | None:
        """See `DatasetConfig.weight_name`."""
        return self.sample_weight

    def title(self) -> str:
        """See `DatasetConfig.title`."""
        from mlpkit.data.table_format import file_title

        return file_title(self.path or "") or self.name

    def paths(self) -> tuple[str, ...]:
        """See `DatasetConfig.paths`."""
        return (self.path,) if self.path else ()

    def load(self, download: bool = True) -> "Dataset":
        """See `DatasetConfig.load`."""
        return self._load(self.classes)

    def load_as(self, trained: "InputSchema", download: bool = True) -> "Dataset":
        """See `DatasetConfig.load_as`: the classes are the model's."""
        return self._load(self.classes or trained.classes or None)

    def _load(self, classes: tuple[str, ...] | None) -> "Dataset":
        import torch

        from mlpkit.data.array_file import read_split_arrays
        from mlpkit.data.array_values import read_inputs, read_targets, read_weights
        from mlpkit.data.dataset import Dataset
        from mlpkit.data.disk_arrays import load_from_disk, numbered, size_of
        from mlpkit.data.disk_cache import memory_of
        from mlpkit.data.images import for_each_pixel
        from mlpkit.data.input_schema import InputSchema, OwnPictures, pixel_names
        from mlpkit.data.overlaps import overlaps
        from mlpkit.data.scaling import channel_scaling, column_scaling
        from mlpkit.data.splits import gather_splits, split_remaining
        from mlpkit.data.tables import listed

        if self.path is None:
            raise ConfigError("dataset.path: no file is named; write dataset.path=FILE, such as arrays.npz")
        memory, named = memory_of(self.memory), (self.inputs, self.target, self.sample_weight)
        parts, unused = read_split_arrays(Path(self.path), *named, memory)
        if size_of(parts) > memory:
            self._check_augment(len(parts["train"].inputs.shape) > 2)
            files = [self.path] if self.path.lower().endswith(".npz") else [self.path, str(self.target)]
            return load_from_disk(
                self, parts, files, self.classes, classes or (), memory, self.memory is None
            )
        inputs = read_inputs([(part.inputs, part.inputs_name) for part in parts.values()])
        targets = read_targets(
            [(part.targets, part.targets_name) for part in parts.values()], classes, self.classes is not None
        )
        given, start = dict[str, slice](), 0
        for name, part in parts.items():
            given[name] = slice(start, start + len(part.inputs))
            start += len(part.inputs)
        all_inputs, all_targets = torch.from_numpy(inputs.values), torch.from_numpy(targets.values)
        weights = [(part.weights, part.weights_name) for part in parts.values() if part.weights is not None]
        all_weights = torch.from_numpy(read_weights(weights)) if weights else None
        indices = split_remaining(self, all_targets, given)
        splits, _ = gather_splits(all_inputs, all_targets, indices, all_weights)
        train, shape, is_picture = splits["train"], inputs.shape, len(inputs.shape) > 1
        self._check_augment(is_picture)
        scaling = None
        if self.standardize and is_picture:
            pixels = shape[-1] * shape[-2]
            scaling = for_each_pixel(channel_scaling(train.inputs, len(inputs.values[0]) // pixels), pixels)
        elif self.standardize:
            scaling = column_scaling(train.inputs)
        is_regression = targets.task == "regression"
        return Dataset(
            name=self.name,
            input_schema=InputSchema(
                targets.task,
                pixel_names(shape) if is_picture else numbered("x", shape[0]),
                shape,
                numbered("y", all_targets.shape[1]) if is_regression else ("label",),
                targets.classes,
                pictures=OwnPictures() if is_picture else None,
            ),
            splits=splits,
            input_scaling=scaling,
            target_scaling=column_scaling(train.targets) if self.standardize and is_regression else None,
            remarks=(
                *inputs.remarks,
                *targets.remarks,
                *([f"{self.path}: other arrays are left out: {listed(unused)}"] if unused else []),
                *overlaps(splits, "picture" if is_picture else "row"),
            ),
        )

    def _check_augment(self, is_picture: bool) -> None:
        if not is_picture and self.augment.changes_anything():
            raise ConfigError(
                f"dataset.augment: only for pictures, but the rows of {self.path} are plain numbers; leave "
                "it out"
            )

    def fractions(self) -> tuple[float, float]:
        """See `DatasetConfig.fractions`."""
        return self.val_fraction, self.test_fraction

    def is_stratified(self) -> bool:
        """See `DatasetConfig.is_stratified`."""
        return True

    def augmentation(self) -> Augment:
        """See `DatasetConfig.augmentation`."""
        return self.augment
