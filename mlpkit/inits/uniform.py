"""A uniform distribution."""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from mlpkit.config.init import InitConfig
from mlpkit.config.registry import choice
from mlpkit.config.section import LARGEST, rule_error

if TYPE_CHECKING:
    from torch import Generator, Tensor


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
        if self.high - self.low > LARGEST:
            raise rule_error(f"low={self.low} and high={self.high} are further apart than float32 can say")
        return self
