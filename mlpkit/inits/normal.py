"""A normal distribution."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.init import InitConfig
from mlpkit.config.registry import choice
from mlpkit.config.section import NotNegative

if TYPE_CHECKING:
    from torch import Generator, Tensor


@choice("init")
class NormalInit(InitConfig):
    """Normal distribution."""

    name: Literal["normal"]
    mean: float = Field(0.0, description="mean of the weights")
    std: NotNegative = Field(0.01, description="standard deviation of the weights")

    def fill(self, weight: "Tensor", random: "Generator") -> None:
        """See `InitConfig.fill`."""
        from torch import nn

        nn.init.normal_(weight, self.mean, self.std, generator=random)
