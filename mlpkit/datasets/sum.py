"""Sum of numbers."""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from mlpkit.config.registry import choice
from mlpkit.config.section import NotNegative, require_below, rule_error
from mlpkit.data.synthetic import Synthetic

if TYPE_CHECKING:
    from torch import Tensor

    from mlpkit.data.input_schema import InputSchema

LARGEST = 500_000_000  # numbers: 2 GB


@choice("dataset")
class SumDataset(Synthetic):
    """Sum of numbers: y is the sum of the terms."""

    name: Literal["sum"]
    n: int = Field(1000, ge=1, le=10**7, description="number of rows in all splits together")
    terms: int = Field(2, ge=1, le=4096, description="how many numbers are added")
    low: float = Field(0.0, description="lower end of the terms")
    high: float = Field(1.0, description="upper end of the terms")
    noise: NotNegative = Field(0.0, description="standard deviation of the noise on y")

    def input_schema(self) -> "InputSchema":
        """See `Synthetic.input_schema`."""
        from mlpkit.data.input_schema import InputSchema

        return InputSchema("regression", tuple(f"x{i + 1}" for i in range(self.terms)), (self.terms,), ("y",))

    def draw(self) -> "tuple[Tensor, Tensor]":
        """Return terms (n, terms), uniform in [low, high), and their noisy sum (n, 1)."""
        import torch

        from mlpkit.data.randomness import generator

        random = generator(self.seed, "samples")
        terms = torch.rand(self.n, self.terms, generator=random) * (self.high - self.low) + self.low
        noise = self.noise * torch.randn(self.n, 1, generator=random)
        return terms, terms.sum(1, keepdim=True) + noise

    def numbers(self) -> int:
        """See `DatasetConfig.numbers`."""
        return self.n * self.terms

    @model_validator(mode="after")
    def _check(self) -> Self:
        require_below(self.low, self.high)
        if self.n * self.terms > LARGEST:
            raise rule_error(f"n={self.n} rows of terms={self.terms} are more than {LARGEST:,} numbers")
        return self
