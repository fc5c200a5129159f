"""The input schema: features, targets and classes of a model."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from mlpkit.data.encoder import Name, TableEncoder

Size = Annotated[int, Field(ge=1, le=10**6)]

MOST_PIXELS = 1 << 18  # values of a picture: 512×512 in grey, 295×295 in colour
MOST_NAMED = 10_000  # more pixel names are not stored, since a checkpoint's header has 1 MB
COLOURS = ("red", "green", "blue")


def pixel_names(shape: Sequence[int]) -> tuple[str, ...]:
    """Return a feature name for each pixel of a picture of shape (height, width) or (3, height, width)."""
    *channels, height, width = shape
    colours = COLOURS if channels else ("pixel",)
    return tuple(f"{colour}{index}" for colour in colours for index in range(height * width))


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class OwnPictures:
    """Marks a model that reads picture files of any size and colour, like its training pictures.

    Attributes:
        inverted: whether the training pictures were dark on light, and were inverted.
    """

    inverted: bool = False


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class InputSchema:
    """Features, targets and classes of a model. It is stored in the checkpoint, and validated on loading.

    Attributes:
        task: regression, binary, multiclass or multilabel.
        features: names of the features, in order; an image has one for each pixel.
        input_shape: shape of one input; its product is the number of features. A picture has (height, width),
            or (3, height, width) in colour.
        targets: names of the target columns.
        classes: names of the classes, in the order of their labels; empty for regression and multilabel.
        encoder: encodes the columns of a raw table as features; None: the columns are the features.
        pictures: how picture files are converted; None: they must have the right size and mode already.
    """

    task: Literal["regression", "binary", "multiclass", "multilabel"]
    features: Annotated[tuple[Name, ...], Field(min_length=1)]
    input_shape: Annotated[tuple[Size, ...], Field(min_length=1, max_length=3)]
    targets: Annotated[tuple[Name, ...], Field(min_length=1)]
    classes: tuple[Name, ...] = ()
    encoder: TableEncoder | None = None
    pictures: OwnPictures | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if math.prod(self.input_shape) != len(self.features):
            raise ValueError("input_shape does not match the number of features")
        if self.picture_shape[0] not in (1, 3) or (self.pictures and not self.is_image):
            raise ValueError("the pictures are neither grey nor in colour")
        fits = {"regression": not self.classes, "binary": len(self.classes) == 2}
        fits["multilabel"] = not self.classes and len(self.targets) > 1
        if not fits.get(self.task, len(self.classes) >= 2):
            raise ValueError("the classes do not fit the task")
        if len(set(self.features)) < len(self.features):
            raise ValueError("a feature appears twice")
        if self.encoder is not None and self.encoder.width != len(self.features):
            raise ValueError("the encoder has another number of features")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; newer keys only where needed, so that older versions can read it."""
        named = not self.is_image or len(self.features) <= MOST_NAMED
        newer: dict[str, Any] = {}
        if self.encoder is not None:
            newer["encoder"] = self.encoder.to_dict()
        if self.pictures is not None:
            newer["pictures"] = {"inverted": self.pictures.inverted}
        return {
            "task": self.task,
            **({"features": list(self.features)} if named else {}),
            "input_shape": list(self.input_shape),
            "targets": list(self.targets),
            "classes": list(self.classes),
            **newer,
        }

    @staticmethod
    def completed(content: Any) -> Any:
        """Add the pixel names that `to_dict` left out."""
        if not isinstance(content, dict) or "features" in content:
            return content
        shape = content.get("input_shape")
        if not isinstance(shape, list) or not all(type(size) is int and size > 0 for size in shape):
            return content
        if len(shape) not in (2, 3) or math.prod(shape) > MOST_PIXELS:
            return content
        return {**content, "features": list(pixel_names(shape))}

    @property
    def width(self) -> int:
        """The number of outputs that the model needs for the task."""
        return 1 if self.task == "binary" else len(self.classes or self.targets)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that the model reads."""
        return (
            self.features if self.encoder is None else tuple(column.column for column in self.encoder.columns)
        )

    @property
    def numbers(self) -> tuple[int, ...]:
        """The places of the features that are numbers; the others are categories and flags."""
        if self.encoder is None:
            return tuple(range(len(self.features)))
        return self.encoder.numbers()

    @property
    def is_image(self) -> bool:
        """Whether an input is a picture."""
        return len(self.input_shape) > 1

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a picture; a row of a table counts as a picture of height 1."""
        channels, height, width = (1, 1, *self.input_shape)[-3:]
        return channels, height, width
