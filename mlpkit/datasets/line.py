"""Noisy line."""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from mlpkit.config.registry import choice
from mlpkit.config.section import NotNegative, Positive, require_below
from mlpkit.data.synthetic import Synthetic

if TYPE_CHECKING:
    from torch import Tensor

    from mlpkit.data.dataset import Dataset
    from mlpkit.data.input_schema import InputSchema


@choice("dataset")
class LineDataset(Synthetic):
    """Noisy line: y = slope · x + intercept + noise · ε."""

    name: Literal["line"]
    n: int = Field(100, ge=1, le=10**7, description="number of rows in all splits together")
    slope: float = Field(3.0, description="slope of the true line")
    intercept: float = Field(2.0, description="intercept of the true line")
    noise: NotNegative = Field(2.0, description="standard deviation of the noise on y")
    x: Literal["linspace", "uniform", "normal"] = Field(
        "linspace", description="how x is chosen: evenly spaced, or drawn from a distribution"
    )
    low: float = Field(0.0, description="smallest x, for linspace and uniform")
    high: float = Field(10.0, description="largest x, for linspace and uniform")
    mean: float = Field(0.0, description="mean of x, for normal")
    std: Positive = Field(1.0, description="standard deviation of x, for normal")

    def input_schema(self) -> "InputSchema":
        """See `Synthetic.input_schema`."""
        from mlpkit.data.input_schema import InputSchema

        return InputSchema("regression", ("x",), (1,), ("y",))

    def draw(self) -> "tuple[Tensor, Tensor]":
        """Return x (n, 1) and y = slope · x + intercept + noise · ε (n, 1) with ε standard normal."""
        import torch

        from mlpkit.data.randomness import generator

        random = generator(self.seed, "samples")
        if self.x == "linspace":
            x = torch.linspace(self.low, self.high, self.n).unsqueeze(1)
        elif self.x == "uniform":
            x = torch.rand(self.n, 1, generator=random) * (self.high - self.low) + self.low
        else:
            x = torch.randn(self.n, 1, generator=random) * self.std + self.mean
        noise = self.noise * torch.randn(self.n, 1, generator=random)
        return x, self.slope * x + self.intercept + noise

    def load(self, download: bool = True) -> "Dataset":
        """See `DatasetConfig.load`; adds the true line, which plots show."""
        from dataclasses import replace

        return replace(super().load(download), true_line=(self.slope, self.intercept))

    @model_validator(mode="after")
    def _check(self) -> Self:
        require_below(self.low, self.high)
        return self
