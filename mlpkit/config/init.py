"""First values of the weights."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mlpkit.config.section import LARGEST, NotNegative, Positive, Section, rule_error


class DefaultInit(Section):
    """PyTorch's own initialisation of linear layers."""

    name: Literal["default"]
    bias: float | Literal["default"] = Field("default", description="first value of the biases")


class InitOptions(Section):
    """What every other initialisation has."""

    bias: float | Literal["default"] = Field(0.0, description="first value of the biases")


class NormalInit(InitOptions):
    """Normal distribution."""

    name: Literal["normal"]
    mean: float = Field(0.0, description="mean of the weights")
    std: NotNegative = Field(0.01, description="standard deviation of the weights")


class UniformInit(InitOptions):
    """Uniform distribution."""

    name: Literal["uniform"]
    low: float = Field(-0.1, description="lower end of the weights")
    high: float = Field(0.1, description="upper end of the weights")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low > self.high:
            raise rule_error(f"low={self.low} must not be above high={self.high}")
        if self.high - self.low > LARGEST:
            raise rule_error(f"low={self.low} and high={self.high} are further apart than float32 can say")
        return self


class XavierInit(InitOptions):
    """Glorot's initialisation."""

    name: Literal["xavier_uniform", "xavier_normal"]
    gain: Positive = Field(1.0, description="factor of the standard deviation")


class KaimingInit(InitOptions):
    """He's initialisation."""

    name: Literal["kaiming_uniform", "kaiming_normal"]
    mode: Literal["fan_in", "fan_out"] = Field("fan_in", description="which pass keeps its variance")
    nonlinearity: Literal["relu", "leaky_relu", "tanh", "sigmoid", "linear"] = Field(
        "relu", description="activation whose gain is used"
    )
    a: NotNegative = Field(0.0, description="negative slope, for leaky_relu")


class OrthogonalInit(InitOptions):
    """Random orthogonal matrices."""

    name: Literal["orthogonal"]
    gain: Positive = Field(1.0, description="factor of the matrix")


class ZerosInit(InitOptions):
    """All weights zero."""

    name: Literal["zeros"]


class ConstantInit(InitOptions):
    """All weights the same."""

    name: Literal["constant"]
    value: float = Field(0.1, description="value of the weights")


InitConfig = Annotated[
    DefaultInit
    | NormalInit
    | UniformInit
    | XavierInit
    | KaimingInit
    | OrthogonalInit
    | ZerosInit
    | ConstantInit,
    Field(discriminator="name"),
]
