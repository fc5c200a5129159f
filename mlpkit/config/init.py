"""Base class of initialisations, which fill the first weights of a layer."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mlpkit.config.section import Section

if TYPE_CHECKING:
    from torch import Generator, Tensor


class InitConfig(Section):
    """An initialisation. A new one defines a name, options and `fill`."""

    to_define: ClassVar[tuple[str, ...]] = ("fill",)
    name: str
    bias: float | Literal["default"] = Field(0.0, description="first value of the biases")

    def fill(self, weight: "Tensor", random: "Generator") -> None:
        """Fill the weights of a linear layer in place.

        Args:
            weight: (out_features, in_features), float32 on the CPU, uninitialised.
            random: the generator to draw all random numbers from.
        """
        raise NotImplementedError(f"init={self.name} has no fill")
