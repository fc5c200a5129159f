"""Optimizers over flat buffers: torch's fused kernels, without the objects around them.

Making a torch.optim object imports torch's compiler, which takes a second, and walks over a list of
parameters at each step. The kernels that it calls are part of torch itself and take a flat buffer as well.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from mlpkit.schema.optimizer import Adam, AdamW, OptimizerConfig, Sgd

Tensors = Sequence[Tensor]


class Update(ABC):
    """Changes values by their gradients, in place.

    Attributes:
        scalars: what is one number for all values, by torch's names.
        begun: whether there has been an update; before it, averages mean nothing.
    """

    scalars: Mapping[str, Tensor]
    begun: bool = False

    @abstractmethod
    def __call__(self, lr: float | Tensor) -> None:
        """Take a step at a learning rate, which on a CUDA device may be a tensor."""


class AdamUpdate(Update):
    """Adam and AdamW (torch.optim.Adam, torch.optim.AdamW; Kingma, Ba 2015; Loshchilov, Hutter 2019)."""

    def __init__(
        self,
        config: Adam | AdamW,
        values: Tensors,
        gradients: Tensors,
        averages: Mapping[str, Tensors],
        flag: Tensor | None,
    ) -> None:
        """See `build_update`."""
        self.flag = flag
        # A number as a tensor: torch would make one of it at each step, which takes longer than the sum.
        self.steps, self.one = torch.zeros(2, device=values[0].device).unbind()
        self.one.fill_(1)
        self.scalars = {"step": self.steps}
        self.kernel: Callable[..., None] = (
            torch._fused_adam_ if isinstance(config, Adam) else torch._fused_adamw_
        )
        steps = [self.steps] * len(values)
        moments = list(averages["exp_avg"]), list(averages["exp_avg_sq"])
        self.buffers = list(values), list(gradients), *moments, list[Tensor](), steps
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

    def __call__(self, lr: float | Tensor) -> None:
        """See `Update`."""
        self.steps.add_(self.one)
        self.kernel(*self.buffers, lr=lr, **self.options)
        if self.flag is not None:
            self.steps.sub_(self.flag[0])
        self.begun = True


class SgdUpdate(Update):
    """SGD with momentum (torch.optim.SGD; the first gradient begins the buffer, without dampening)."""

    def __init__(
        self,
        config: Sgd,
        values: Tensors,
        gradients: Tensors,
        averages: Mapping[str, Tensors],
        flag: Tensor | None,
    ) -> None:
        """See `build_update`."""
        self.scalars = {}
        self.kernel: Callable[..., None] = torch._fused_sgd_
        self.buffers = list(values), list(gradients), list(averages.get("momentum_buffer", []))
        self.options = {
            "momentum": config.momentum,
            "dampening": config.dampening,
            "weight_decay": config.weight_decay,
            "nesterov": config.nesterov,
            "maximize": False,
            "found_inf": flag,
        }

    def __call__(self, lr: float | Tensor) -> None:
        """See `Update`."""
        self.kernel(*self.buffers, lr=lr, is_first_step=not self.begun, **self.options)
        self.begun = True


def averages_of(config: OptimizerConfig) -> list[str]:
    """Return the names of what an optimizer keeps for every value."""
    return [name for name, is_scalar in config.slots() if not is_scalar]


def build_update(
    config: OptimizerConfig,
    values: Tensors,
    gradients: Tensors,
    averages: Mapping[str, Tensors],
    flag: Tensor | None = None,
) -> Update:
    """Return the optimizer's update of some buffers.

    Args:
        config: the optimizer.
        values: what it changes; each lies in one piece.
        gradients: by what.
        averages: what it keeps for every value, by the names of `averages_of`.
        flag: (1,); where it is 1 instead of 0, nothing is changed; so a device can forbid updates by itself.
    """
    if isinstance(config, Adam | AdamW):
        return AdamUpdate(config, values, gradients, averages, flag)
    return SgdUpdate(config, values, gradients, averages, flag)
