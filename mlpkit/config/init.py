"""What every initialisation has, and what it does: it fills the weights of a layer."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.section import Section

if TYPE_CHECKING:
    from torch import Generator, Tensor


class InitConfig(Section):
    """An initialisation. A new one has a name, options and `fill`."""

    name: str
    bias: float | Literal["default"] = Field(0.0, description="first value of the biases")

    def fill(self, weight: "Tensor", random: "Generator") -> None:
        """Write the first weights (out_features, in_features) of a linear layer.

        Args:
            weight: float32 on the CPU, with arbitrary numbers in it.
            random: where all random numbers have to come from.
        """
        raise NotImplementedError(f"init={self.name} has no fill")
