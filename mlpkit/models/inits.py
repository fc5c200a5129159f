"""Initialisations of linear layers, from torch.nn.init."""

import math
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from mlpkit.config.init import InitConfig
from mlpkit.config.registry import choice
from mlpkit.config.section import FLOAT32_MAX, NotNegative, Positive, rule_error

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


@choice("init")
class ZerosInit(InitConfig):
    """All weights zero."""

    name: Literal["zeros"]

    def fill(self, weight: "Tensor", random: "Generator") -> None:
        """See `InitConfig.fill`."""
        weight.zero_()


@choice("init")
class ConstantInit(InitConfig):
    """All weights the same."""

    name: Literal["constant"]
    value: float = Field(0.1, description="value of the weights")

    def fill(self, weight: "Tensor", random: "Generator") -> None:
        """See `InitConfig.fill`."""
        weight.fill_(self.value)


@choice("init")
class UniformInit(InitConfig):
    """Uniform distribution."""

    name: Literal["uniform"]
    low: float = Field(-0.1, description="lower end of the weights")
    high: float = Field(0.1, description="upper end of the weights")

    def fill(self, weight: "Tensor", random: "Generator") -> None:
        """See `InitConfig.fill`."""
        from torch import nn

        nn.init.uniform_(weight, self.low, self.high, generator=random)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low > self.high:
            raise rule_error(f"low={self.low} must not be above high={self.high}")
        if self.high - self.low > FLOAT32_MAX:
            raise rule_error(f"low={self.low} and high={self.high} are further apart than float32 can say")
        return self


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


@choice("init")
class XavierInit(InitConfig):
    """Glorot's initialisation (Glorot, Bengio 2010)."""

    name: Literal["xavier_uniform", "xavier_normal"]
    gain: Positive = Field(1.0, description="factor of the standard deviation")

    def fill(self, weight: "Tensor", random: "Generator") -> None:
        """See `InitConfig.fill`."""
        from torch import nn

        fill = nn.init.xavier_uniform_ if self.name == "xavier_uniform" else nn.init.xavier_normal_
        fill(weight, self.gain, generator=random)


@choice("init")
class KaimingInit(InitConfig):
    """He's initialisation (He et al. 2015)."""

    name: Literal["kaiming_uniform", "kaiming_normal"]
    mode: Literal["fan_in", "fan_out"] = Field(
        "fan_in", description="keep the variance of the forward (fan_in) or backward pass"
    )
    nonlinearity: Literal["relu", "leaky_relu", "tanh", "sigmoid", "linear"] = Field(
        "relu", description="activation whose gain is used"
    )
    a: NotNegative = Field(0.0, description="negative slope, for leaky_relu")

    def fill(self, weight: "Tensor", random: "Generator") -> None:
        """See `InitConfig.fill`."""
        from torch import nn

        fill = nn.init.kaiming_uniform_ if self.name == "kaiming_uniform" else nn.init.kaiming_normal_
        fill(weight, self.a, self.mode, self.nonlinearity, generator=random)


@choice("init")
class OrthogonalInit(InitConfig):
    """Random orthogonal matrices (Saxe et al. 2013)."""

    name: Literal["orthogonal"]
    gain: Positive = Field(1.0, description="factor of the matrix")

    def fill(self, weight: "Tensor", random: "Generator") -> None:
        """See `InitConfig.fill`."""
        from torch import nn

        nn.init.orthogonal_(weight, self.gain, generator=random)
