"""Optimizers over one flat buffer: torch's fused kernels, without the objects around them.

Making a torch.optim object imports torch's compiler, which takes a second, and walks over a list of
parameters at each step. The kernels that it calls are part of torch itself and take a flat buffer as well.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from mlpkit.schema.optimizer import Adam, AdamW, OptimizerConfig, Sgd


class Update(ABC):
    """Changes values by their gradients, in place.

    Attributes:
        slots: what is kept for each value, by torch's names: like the values, or one number for all.
        begun: whether there has been an update; before it, the slots mean nothing.
    """

    slots: dict[str, Tensor]
    begun: bool = False

    @abstractmethod
    def __call__(self, rate: float | Tensor) -> None:
        """Take a step at a learning rate, which on a CUDA device may be a tensor."""


class AdamUpdate(Update):
    """Adam and AdamW (torch.optim.Adam, torch.optim.AdamW; Kingma, Ba 2015; Loshchilov, Hutter 2019)."""

    def __init__(self, config: Adam | AdamW, values: Tensor, gradients: Tensor, flag: Tensor | None) -> None:
        """Take two buffers of one shape, and a flag (1,) that forbids updates."""
        self.flag = flag
        averages, squares = torch.zeros_like(values), torch.zeros_like(values)
        # A number as a tensor: torch would make one of it at each step, which takes longer than the sum.
        self.steps, self.one = torch.zeros(2, device=values.device).unbind()
        self.one.fill_(1)
        self.slots = {"step": self.steps, "exp_avg": averages, "exp_avg_sq": squares}
        self.kernel: Callable[..., None] = (
            torch._fused_adam_ if isinstance(config, Adam) else torch._fused_adamw_
        )
        self.buffers: tuple[list[Tensor], ...] = (
            [values],
            [gradients],
            [averages],
            [squares],
            [],
            [self.steps],
        )
        beta1, beta2 = config.betas
        self.options = {
            "beta1": beta1,
            "beta2": beta2,
            "weight_decay": config.weight_decay,
            "eps": config.eps,
            "amsgrad": False,
            "maximize": False,
            "found_inf": flag,
        }

    def __call__(self, rate: float | Tensor) -> None:
        """See `Update`."""
        self.steps.add_(self.one)
        self.kernel(*self.buffers, lr=rate, **self.options)
        if self.flag is not None:
            self.steps.sub_(self.flag[0])
        self.begun = True


class SgdUpdate(Update):
    """SGD with momentum (torch.optim.SGD; the first gradient begins the buffer, without dampening)."""

    def __init__(self, config: Sgd, values: Tensor, gradients: Tensor, flag: Tensor | None) -> None:
        """Take two buffers of one shape, and a flag (1,) that forbids updates."""
        self.slots = {"momentum_buffer": torch.zeros_like(values)} if config.momentum else {}
        self.kernel: Callable[..., None] = torch._fused_sgd_
        self.buffers = [values], [gradients], list(self.slots.values())
        self.options = {
            "momentum": config.momentum,
            "dampening": config.dampening,
            "weight_decay": config.weight_decay,
            "nesterov": config.nesterov,
            "maximize": False,
            "found_inf": flag,
        }

    def __call__(self, rate: float | Tensor) -> None:
        """See `Update`."""
        self.kernel(*self.buffers, lr=rate, is_first_step=not self.begun, **self.options)
        self.begun = True


def build_update(
    config: OptimizerConfig, values: Tensor, gradients: Tensor, flag: Tensor | None = None
) -> Update:
    """Return the optimizer's update of a buffer.

    Args:
        config: the optimizer.
        values: what it changes.
        gradients: by what.
        flag: where it is 1 instead of 0, nothing is changed; so a device can forbid updates by itself.
    """
    if isinstance(config, Adam | AdamW):
        return AdamUpdate(config, values, gradients, flag)
    return SgdUpdate(config, values, gradients, flag)
