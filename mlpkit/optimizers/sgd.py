"""SGD with momentum, with the options and defaults of torch.optim.SGD."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from mlpkit.config.optimizer import Buffers, OptimizerConfig, Slots, Step
from mlpkit.config.registry import choice
from mlpkit.config.section import NotNegative, rule_error

if TYPE_CHECKING:
    from torch import Tensor


@choice("optimizer")
class Sgd(OptimizerConfig):
    """Stochastic gradient descent (torch.optim.SGD)."""

    name: Literal["sgd"]
    momentum: NotNegative = Field(0.0, description="momentum")
    dampening: float = Field(0.0, description="dampening of the momentum")
    weight_decay: NotNegative = Field(0.0, description="L2 penalty")
    nesterov: bool = Field(False, description="Nesterov momentum")

    def slots(self) -> Slots:
        """See `OptimizerConfig.slots`."""
        return {"momentum_buffer": "tensor"} if self.momentum else {}

    def formulas(self) -> tuple[str, ...]:
        """See `OptimizerConfig.formulas`."""
        penalty = (f"g ← g + {self.weight_decay:g} θ",) if self.weight_decay else ()
        if not self.momentum:
            return (*penalty, "θ ← θ - lr g")
        share = "" if not self.dampening else f"{1 - self.dampening:g} "
        buffer = f"v ← {self.momentum:g} v + {share}g, and v ← g in the first step; v is momentum_buffer"
        step = f"θ ← θ - lr (g + {self.momentum:g} v)" if self.nesterov else "θ ← θ - lr v"
        return (*penalty, buffer, step)

    def fused(self, buffers: Buffers) -> Step:
        """See `OptimizerConfig.fused`; the first step sets the momentum buffer to the undampened gradient."""
        import torch

        kernel: Callable[..., None] = torch._fused_sgd_
        has_momentum = self.momentum > 0
        lists = buffers.values, buffers.gradients, buffers.tensors.get("momentum_buffer", [])
        options = {
            "momentum": self.momentum,
            "dampening": self.dampening,
            "weight_decay": self.weight_decay,
            "nesterov": self.nesterov,
            "maximize": False,
        }

        def step(lr: "float | Tensor") -> None:
            kernel(*lists, lr=lr, is_first_step=has_momentum and not buffers.begun, **options)

        return step

    def keeps_zeros(self) -> bool:
        """See `OptimizerConfig.keeps_zeros`."""
        return True

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise rule_error("nesterov=true needs momentum > 0 and dampening = 0")
        return self
