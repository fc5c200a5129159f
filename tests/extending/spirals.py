"""A dataset that mlpkit does not have: three spirals that wind round each other."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.registry import choice
from mlpkit.config.section import NotNegative
from mlpkit.data.synthetic import Synthetic

if TYPE_CHECKING:
    from torch import Tensor

    from mlpkit.data.input_schema import InputSchema


@choice("dataset")
class Spirals(Synthetic):
    """Three spirals."""

    name: Literal["spirals"]
    noise: NotNegative = Field(0.1, description="standard deviation of the noise on the points")

    def input_schema(self) -> "InputSchema":
        from mlpkit.data.input_schema import InputSchema

        names = {"features": ("x", "y"), "targets": ("spiral",), "classes": ("red", "green", "blue")}
        return InputSchema("multiclass", input_shape=(2,), **names)

    def draw(self) -> "tuple[Tensor, Tensor]":
        import torch

        random = torch.Generator().manual_seed(self.seed)
        labels = torch.arange(self.n) % 3
        radius = torch.rand(self.n, generator=random)
        angle = 5 * radius + labels * (2 * torch.pi / 3)
        points = radius[:, None] * torch.stack((angle.cos(), angle.sin()), dim=1)
        return points + self.noise * torch.randn(points.shape, generator=random), labels
