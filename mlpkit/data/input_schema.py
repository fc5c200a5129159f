"""What a model is trained to read and to say."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from mlpkit.data.encoder import Name, TableEncoder

Size = Annotated[int, Field(ge=1, le=10**6)]


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class InputSchema:
    """What a model reads and says; it travels with the checkpoint, and is checked when it is opened.

    Attributes:
        task: regression, binary or multiclass.
        features: names of the input columns, in order; an image has one for each pixel.
        input_shape: shape of one input; its product is the number of features.
        targets: names of the target columns.
        classes: names of the classes, in the order of their labels; empty for regression.
        encoder: makes the features of a raw table's columns; None where the features are the columns.
    """

    task: Literal["regression", "binary", "multiclass"]
    features: Annotated[tuple[Name, ...], Field(min_length=1)]
    input_shape: Annotated[tuple[Size, ...], Field(min_length=1, max_length=2)]
    targets: Annotated[tuple[Name, ...], Field(min_length=1)]
    classes: tuple[Name, ...] = ()
    encoder: TableEncoder | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        height, *width = self.input_shape
        if height * (width[0] if width else 1) != len(self.features):
            raise ValueError("input_shape is not that of the features")
        fits = {"regression": not self.classes, "binary": len(self.classes) == 2}
        if not fits.get(self.task, len(self.classes) >= 2):
            raise ValueError("the classes do not go with the task")
        if len(set(self.features)) < len(self.features):
            raise ValueError("a feature stands twice")
        if self.encoder is not None and self.encoder.width != len(self.features):
            raise ValueError("the encoder makes other features")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; without an encoder, as older versions of mlpkit wrote them."""
        encoder = {} if self.encoder is None else {"encoder": self.encoder.to_dict()}
        return {
            "task": self.task,
            "features": list(self.features),
            "input_shape": list(self.input_shape),
            "targets": list(self.targets),
            "classes": list(self.classes),
            **encoder,
        }

    @property
    def width(self) -> int:
        """The number of outputs that the task wants of a model."""
        return {"regression": len(self.targets), "binary": 1}.get(self.task, len(self.classes))

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that are read."""
        return self.features if self.encoder is None else tuple(of.column for of in self.encoder.columns)

    @property
    def is_image(self) -> bool:
        """Whether an input is a picture of height × width."""
        return len(self.input_shape) == 2
