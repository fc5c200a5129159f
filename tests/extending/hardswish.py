"""Two activations that mlpkit does not have."""

from typing import TYPE_CHECKING, Literal

from mlpkit.config.activation import ActivationConfig
from mlpkit.config.registry import choice

if TYPE_CHECKING:
    from torch import Tensor


@choice("activation")
class Hardswish(ActivationConfig):
    """z min(max(0, z + 3), 6) / 6 (Howard 2019)."""

    name: Literal["hardswish"]
    torch_class = "Hardswish"  # in torch.nn; autograd computes its gradient


@choice("activation")
class Sine(ActivationConfig):
    """sin z."""

    name: Literal["sine"]
    keeps_zeros = True

    def function(self, z: "Tensor") -> "Tensor":
        return z.sin()

    def derivative(self, z: "Tensor") -> "Tensor":
        return z.cos()
