"""Base class of initialisations, which fill the first weights of a layer."""

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mlpkit.config.section import NotNegative, Section, rule_error

if TYPE_CHECKING:
    from torch import Generator, Tensor


class InitConfig(Section):
    """An initialisation. A new one defines a name, options and `fill`."""

    to_define: ClassVar[tuple[str, ...]] = ("fill",)
    name: str
    bias: float | Literal["default"] = Field(0.0, description="first value of the biases")
    bias_std: NotNegative = Field(
        0.0, description="standard deviation of the first biases, normally distributed around `bias`"
    )
    output_factor: NotNegative = Field(
        1.0, description="what the first weights of the last linear layer are multiplied by"
    )

    @model_validator(mode="after")
    def _check_bias(self) -> Self:
        if self.bias_std and self.bias == "default":
            raise rule_error(f"bias_std={self.bias_std:g} needs a number for bias; set bias=0")
        return self

    def fill(self, weight: "Tensor", random: "Generator") -> None:
        """Fill the weights of a linear layer in place.

        Args:
            weight: (out_features, in_features), float32 on the CPU, uninitialised.
            random: the generator to draw all random numbers from.
        """
        raise NotImplementedError(f"init={self.name} has no fill")
