"""A model that mlpkit does not have: blocks whose outputs are added to their inputs."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.model import ModelConfig
from mlpkit.config.registry import choice
from mlpkit.config.section import Fraction, Width

if TYPE_CHECKING:
    from torch import nn


@choice("model")
class Residual(ModelConfig):
    """A residual network."""

    name: Literal["residual"]
    width: Width = Field(16, description="units of each block")
    depth: int = Field(2, ge=1, le=100, description="number of blocks")
    dropout: Fraction = Field(0.1, description="share of units dropped in training")

    def build(self, features: int, width: int) -> "nn.Module":
        from torch import Tensor, nn

        class Block(nn.Sequential):
            def forward(self, units: Tensor) -> Tensor:
                return units + super().forward(units)

        def block() -> nn.Module:
            norm, linear = nn.BatchNorm1d(self.width), nn.Linear(self.width, self.width)
            return Block(norm, nn.ReLU(), linear, nn.Dropout(self.dropout))

        blocks = [block() for _ in range(self.depth)]
        return nn.Sequential(nn.Linear(features, self.width), *blocks, nn.Linear(self.width, width))

    def problem_with_one_row(self) -> str:
        return "its batch norm needs two; change the batch size"
