"""Orthogonal matrices (Saxe et al. 2013)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.init import InitConfig
from mlpkit.config.registry import choice
from mlpkit.config.section import Positive

if TYPE_CHECKING:
    from torch import Generator, Tensor


@choice("init")
class OrthogonalInit(InitConfig):
    """Random orthogonal matrices."""

    name: Literal["orthogonal"]
    gain: Positive = Field(1.0, description="factor of the matrix")

    def fill(self, weight: "Tensor", random: "Generator") -> None:
        """See `InitConfig.fill`."""
        from torch import nn

        nn.init.orthogonal_(weight, self.gain, generator=random)
