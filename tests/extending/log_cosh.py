"""log cosh: squared for small errors, linear for large ones, and smooth."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.loss import LossConfig
from mlpkit.config.registry import choice
from mlpkit.config.section import Positive

if TYPE_CHECKING:
    from torch import Tensor


@choice("loss")
class LogCosh(LossConfig):
    """scale² log cosh(e / scale) for errors e; a mean over the targets."""

    name: Literal["log_cosh"]
    scale: Positive = Field(1.0, description="error at which the loss turns from squared to linear")
    tasks = ("regression",)

    def per_example(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        errors = (outputs - targets) / self.scale
        return (self.scale**2 * errors.cosh().log()).mean(1)

    def gradient(self, outputs: "Tensor", y: "Tensor") -> "Tensor":
        return self.scale * ((outputs - y) / self.scale).tanh() / outputs.shape[-1]
