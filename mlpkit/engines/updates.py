"""Optimizers over flat buffers: torch's fused kernels, without the objects around them.

Making a torch.optim object imports torch's compiler, which takes a second, and walks over a list of
parameters at each step. The kernels that it calls are part of torch itself and take a flat buffer as well.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from mlpkit.config.config import Config
from mlpkit.config.optimizer import Adam, AdamW, OptimizerConfig, Sgd
from mlpkit.config.scheduler import Plateau
from mlpkit.engines.parameters import Flat

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


@dataclass(frozen=True)
class Block:
    """Runs next to each other whose optimizers and schedules are set alike: one update serves them.

    Attributes:
        first: the first run.
        stop: the run after the last.
        update: changes their values.
    """

    first: int
    stop: int
    update: Update


class Optimizers:
    """The optimizers of K runs, and what they keep.

    Attributes:
        blocks: of runs that one update serves.
    """

    def __init__(
        self, parameters: Flat, gradients: Tensor, configs: Sequence[Config], flag: Tensor | None = None
    ) -> None:
        """Make what the optimizers keep.

        Args:
            parameters: of the runs.
            gradients: (K · P), theirs.
            configs: of the runs; neighbours that are set alike make a block.
            flag: see `build_update`.
        """
        self.parameters, self.configs = parameters, configs
        names = {name for config in configs for name in averages_of(config.optimizer)}
        self.averages = {name: parameters.like() for name in sorted(names)}
        self.blocks = []
        for first, stop in neighbours(configs):
            flats = (parameters.values, gradients, *self.averages.values())
            values, slopes, *averages = (parameters.neighbours(flat, first, stop) for flat in flats)
            own = averages_of(configs[first].optimizer)
            named = {name: of for name, of in zip(self.averages, averages, strict=True) if name in own}
            update = build_update(configs[first].optimizer, values, slopes, named, flag)
            self.blocks.append(Block(first, stop, update))

    def __call__(self, lrs: Sequence[float | Tensor]) -> None:
        """Take a step at the learning rate of each block."""
        for block, lr in zip(self.blocks, lrs, strict=True):
            block.update(lr)

    def state(self, run: int) -> dict[str, Tensor]:
        """Return a run's part, named `<parameter>/<slot>`, where it lies; nothing before the first step."""
        update = self._block_of(run).update
        if not update.begun:
            return {}
        names = self.parameters.own_shapes[run]
        found = {f"{name}/{slot}": value for slot, value in update.scalars.items() for name in names}
        for slot in averages_of(self.configs[run].optimizer):
            tensors = self.parameters.of(self.averages[slot], run)
            found |= {f"{name}/{slot}": values for name, values in tensors.items()}
        return found

    def restore(self, run: int, state: Mapping[str, Tensor]) -> None:
        """Take a run's part back; all runs of a block have begun, or none has."""
        self._block_of(run).update.begun = True
        for name, own in self.state(run).items():
            own.copy_(state[name])

    def _block_of(self, run: int) -> Block:
        return next(block for block in self.blocks if block.first <= run < block.stop)


def neighbours(configs: Sequence[Config]) -> list[tuple[int, int]]:
    """Return (first, stop) of runs next to each other that one update serves.

    A plateau schedule has its own learning rate for each run.
    """

    def settings(run: int) -> tuple[Any, ...]:
        config = configs[run]
        return config.optimizer, config.scheduler, run if isinstance(config.scheduler, Plateau) else -1

    found, first = [], 0
    for _, alike in groupby(range(len(configs)), key=settings):
        stop = first + len(list(alike))
        found.append((first, stop))
        first = stop
    return found
