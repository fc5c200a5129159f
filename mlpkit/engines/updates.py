"""The optimizers of K runs: runs next to each other that are set alike take a step together.

Making a torch.optim object imports torch's compiler, which takes a second, and walks over a list of
parameters at each step. The kernels that it calls are part of torch itself and take a flat buffer as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from mlpkit.config.config import Config
from mlpkit.config.optimizer import Buffers, OptimizerConfig
from mlpkit.engines.own_choices import check_update
from mlpkit.engines.parameters import Flat
from mlpkit.schedules.plateau import Plateau


class Update:
    """Changes the values of some runs by their gradients, in place.

    Attributes:
        buffers: what it works on.
    """

    def __init__(self, config: OptimizerConfig, buffers: Buffers) -> None:
        """Take the optimizer and what it works on.

        Raises:
            ConfigError: see `check_update`.
        """
        self.config, self.buffers = config, buffers
        fused = config.fused(buffers)
        if fused is None:
            check_update(config)
        self._take_step = fused or self._update_each

    def __call__(self, lr: float | Tensor) -> None:
        """Take a step at a learning rate, which on a CUDA device may be a tensor."""
        self._take_step(lr)
        self.buffers.begun = True

    def _update_each(self, lr: float | Tensor) -> None:
        """Call the optimizer's own `update` for each tensor."""
        of, before = self.buffers, list[tuple[Tensor, Tensor]]()
        numbers = [(number, number.clone()) for number in of.numbers.values()]
        if of.flag is not None:
            flat = [*of.values, *(tensor for tensors in of.tensors.values() for tensor in tensors)]
            before = [(tensor, tensor.clone()) for tensor in flat] + numbers
        for place, (values, gradients) in enumerate(zip(of.values, of.gradients, strict=True)):
            for number, old in numbers:  # one for all tensors, each of which would count it on
                number.copy_(old)
            tensors = {name: tensors[place] for name, tensors in of.tensors.items()}
            self.config.update(values, gradients, {**tensors, **of.numbers}, lr)
        if of.flag is not None:
            forbidden = of.flag[0].bool()
            for tensor, old in before:
                torch.where(forbidden, old, tensor, out=tensor)


def tensors_of(config: OptimizerConfig) -> list[str]:
    """Return the names of what an optimizer keeps for every value."""
    return [name for name, kind in config.slots().items() if kind == "tensor"]


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
            flag: see `Buffers`.
        """
        self.parameters, self.configs = parameters, configs
        names = {name for config in configs for name in tensors_of(config.optimizer)}
        self.averages = {name: parameters.zeros_like() for name in sorted(names)}
        self.blocks = []
        for first, stop in equal_settings(configs):
            optimizer = configs[first].optimizer
            values, slopes = (parameters.run_slices(of, first, stop) for of in (parameters.values, gradients))
            tensors = {
                name: parameters.run_slices(self.averages[name], first, stop)
                for name in tensors_of(optimizer)
            }
            numbers = {
                name: torch.zeros((), device=gradients.device)
                for name, kind in optimizer.slots().items()
                if kind == "number"
            }
            update = Update(optimizer, Buffers(values, slopes, tensors, numbers, flag))
            self.blocks.append(Block(first, stop, update))

    def __call__(self, lrs: Sequence[float | Tensor]) -> None:
        """Take a step at the learning rate of each block."""
        for block, lr in zip(self.blocks, lrs, strict=True):
            block.update(lr)

    def state(self, run: int) -> dict[str, Tensor]:
        """Return a run's part, named `<parameter>/<slot>`, where it lies; nothing before the first step."""
        buffers = self._block_of(run).update.buffers
        if not buffers.begun:
            return {}
        names = self.parameters.run_shapes[run]
        found = {f"{name}/{slot}": value for slot, value in buffers.numbers.items() for name in names}
        for slot in tensors_of(self.configs[run].optimizer):
            tensors = self.parameters.of_run(self.averages[slot], run)
            found |= {f"{name}/{slot}": values for name, values in tensors.items()}
        return found

    def restore(self, run: int, state: Mapping[str, Tensor]) -> None:
        """Take a run's part back; all runs of a block have begun, or none has."""
        self._block_of(run).update.buffers.begun = True
        for name, own in self.state(run).items():
            own.copy_(state[name])

    def _block_of(self, run: int) -> Block:
        return next(block for block in self.blocks if block.first <= run < block.stop)


def equal_settings(configs: Sequence[Config]) -> list[tuple[int, int]]:
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
