"""What torch does without being asked."""

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.init import InitConfig
from mlpkit.config.registry import choice

if TYPE_CHECKING:
    from torch import Generator, Tensor


@choice("init")
class DefaultInit(InitConfig):
    """PyTorch's own initialisation of linear layers."""

    name: Literal["default"]
    bias: float | Literal["default"] = Field("default", description="first value of the biases")

    def fill(self, weight: "Tensor", random: "Generator") -> None:
        """Do what nn.Linear.reset_parameters does."""
        from torch import nn

        nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=random)
