"""He's initialisation (He et al. 2015)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.init import InitConfig
from mlpkit.config.registry import choice
from mlpkit.config.section import NotNegative

if TYPE_CHECKING:
    from torch import Generator, Tensor


@choice("init")
class KaimingInit(InitConfig):
    """He's initialisation."""

    name: Literal["kaiming_uniform", "kaiming_normal"]
    mode: Literal["fan_in", "fan_out"] = Field("fan_in", description="which pass keeps its variance")
    nonlinearity: Literal["relu", "leaky_relu", "tanh", "sigmoid", "linear"] = Field(
        "relu", description="activation whose gain is used"
    )
    a: NotNegative = Field(0.0, description="negative slope, for leaky_relu")

    def fill(self, weight: "Tensor", random: "Generator") -> None:
        """See `InitConfig.fill`."""
        from torch import nn

        fill = nn.init.kaiming_uniform_ if self.name == "kaiming_uniform" else nn.init.kaiming_normal_
        fill(weight, self.a, self.mode, self.nonlinearity, generator=random)
