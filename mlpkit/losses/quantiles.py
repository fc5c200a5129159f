"""The pinball loss of three quantiles: the median, which is the prediction, and the ends of an interval."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from mlpkit.config.loss import LossConfig
from mlpkit.config.registry import choice
from mlpkit.losses.quantile import pinball, pinball_slope

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@choice("loss")
class Quantiles(LossConfig):
    """Mean over all outputs ŷ of max(q e, (q - 1) e) for errors e = y - ŷ; q is 0.5, then that of each end.

    `mlpkit predict --coverage` makes intervals of the ends, which are wide where the noise is large.
    """

    name: Literal["quantiles"]
    coverage: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.9, description="share of the targets that are to lie between both ends"
    )
    tasks = ("regression",)
    title = "loss of three quantiles"

    @property
    def ends(self) -> tuple[float, ...]:
        """See `LossConfig.ends`."""
        return (1 - self.coverage) / 2, (1 + self.coverage) / 2

    def per_example(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """See `LossConfig.per_example`."""
        levels = 0.5, *self.ends
        parts = outputs.chunk(len(levels), -1)
        losses = [pinball(targets - part, q).mean(1) for part, q in zip(parts, levels, strict=True)]
        return sum(losses[1:], losses[0]) / len(levels)

    def expected(self, targets: "Tensor", width: int, dtype: "torch.dtype") -> "Tensor":
        """Return the targets (rows, width): once for each quantile."""
        return targets.repeat(1, width // targets.shape[1])

    def gradient(self, outputs: "Tensor", y: "Tensor") -> "Tensor":
        """1 - q where ŷ is too high, -q where it is too low, 0 for an error of 0, / width."""
        import torch

        levels = 0.5, *self.ends
        parts = (outputs - y).chunk(len(levels), -1)
        slopes = [pinball_slope(part, q) for part, q in zip(parts, levels, strict=True)]
        return torch.cat(slopes, -1) / outputs.shape[-1]
