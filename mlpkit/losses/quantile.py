"""The quantile or pinball loss (Koenker, Bassett 1978)."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from mlpkit.config.loss import LossConfig
from mlpkit.config.registry import choice

if TYPE_CHECKING:
    from torch import Tensor


@choice("loss")
class Quantile(LossConfig):
    """Mean over the targets of max(q e, (q - 1) e) for errors e = y - ŷ; its minimum is the quantile q."""

    name: Literal["quantile"]
    quantile: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5, description="share of the targets that are to lie below the prediction"
    )
    tasks = ("regression",)
    title = "quantile loss"

    def per_example(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """See `LossConfig.per_example`."""
        return pinball(targets - outputs, self.quantile).mean(1)

    def gradient(self, outputs: "Tensor", y: "Tensor") -> "Tensor":
        """1 - q where ŷ is too high, -q where it is too low, 0 for an error of 0, / width."""
        return pinball_slope(outputs - y, self.quantile) / outputs.shape[-1]


def pinball(errors: "Tensor", q: float) -> "Tensor":
    """Return max(q e, (q - 1) e), elementwise, for errors e = y - ŷ and the quantile q."""
    import torch

    return torch.maximum(q * errors, (q - 1) * errors)


def pinball_slope(excess: "Tensor", q: float) -> "Tensor":
    """Return the derivative of `pinball` by ŷ, elementwise, given ŷ - y: 1 - q, -q, or 0 for 0."""
    signs = excess.sign()  # (1 - 2q + sign) / 2 is 1 - q or -q
    return (signs + (1 - 2 * q) * signs.square()) / 2
