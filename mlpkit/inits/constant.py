"""All weights the same."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.init import InitConfig
from mlpkit.config.registry import choice

if TYPE_CHECKING:
    from torch import Generator, Tensor


@choice("init")
class ConstantInit(InitConfig):
    """All weights the same."""

    name: Literal["constant"]
    value: float = Field(0.1, description="value of the weights")

    def fill(self, weight: "Tensor", random: "Generator") -> None:
        """See `InitConfig.fill`."""
        weight.fill_(self.value)
