"""Two activations that mlpkit does not have."""

from typing import TYPE_CHECKING, Literal

from mlpkit.config.activation import ActivationConfig
from mlpkit.config.registry import choice

if TYPE_CHECKING:
    from torch import Tensor


@choice("activation")
class Hardswish(ActivationConfig):
    """z min(max(0, z + 3), 6) / 6 (Howard 2019), which torch has; its gradient is autograd's."""

    name: Literal["hardswish"]
    torch_class = "Hardswish"


@choice("activation")
class Sine(ActivationConfig):
    """sin z; with a derivative, gradients are computed by hand, which is faster."""

    name: Literal["sine"]
    keeps_zeros = True

    def function(self, z: "Tensor") -> "Tensor":
        return z.sin()

    def derivative(self, z: "Tensor") -> "Tensor":
        return z.cos()
