"""Glorot's initialisation (Glorot, Bengio 2010)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.init import InitConfig
from mlpkit.config.registry import choice
from mlpkit.config.section import Positive

if TYPE_CHECKING:
    from torch import Generator, Tensor


@choice("init")
class XavierInit(InitConfig):
    """Glorot's initialisation."""

    name: Literal["xavier_uniform", "xavier_normal"]
    gain: Positive = Field(1.0, description="factor of the standard deviation")

    def fill(self, weight: "Tensor", random: "Generator") -> None:
        """See `InitConfig.fill`."""
        from torch import nn

        fill = nn.init.xavier_uniform_ if self.name == "xavier_uniform" else nn.init.xavier_normal_
        fill(weight, self.gain, generator=random)
