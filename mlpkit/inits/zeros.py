"""All weights zero."""

from typing import TYPE_CHECKING, Literal

from mlpkit.config.init import InitConfig
from mlpkit.config.registry import choice

if TYPE_CHECKING:
    from torch import Generator, Tensor


@choice("init")
class ZerosInit(InitConfig):
    """All weights zero."""

    name: Literal["zeros"]

    def fill(self, weight: "Tensor", random: "Generator") -> None:
        """See `InitConfig.fill`."""
        weight.zero_()
