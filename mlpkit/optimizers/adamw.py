"""AdamW, with the options and defaults of torch.optim.AdamW (Loshchilov, Hutter 2019)."""

from typing import Literal

from pydantic import Field

from mlpkit.config.optimizer import Buffers, Step
from mlpkit.config.registry import choice
from mlpkit.config.section import NotNegative
from mlpkit.optimizers.adam import AdamOptions


@choice("optimizer")
class AdamW(AdamOptions):
    """Adam with decoupled weight decay (torch.optim.AdamW)."""

    name: Literal["adamw"]
    weight_decay: NotNegative = Field(0.01, description="decoupled weight decay")
    decay_formula = "θ ← θ - {:g} lr θ"

    def fused(self, buffers: Buffers) -> Step:
        """See `OptimizerConfig.fused`."""
        import torch

        return self.fused_step(torch._fused_adamw_, buffers)
