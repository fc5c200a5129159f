"""The optimizers of K runs: adjacent runs with equal settings share one update.

Creating a torch.optim object imports torch's compiler (one second), and the object iterates over a list of
parameters at each step. So this module calls the same kernels directly, on flat buffers.
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
from mlpkit.optimizers.plateau import Plateau

MOST_TENSORS = 36  # in a launch of torch's fused Adam
ALIGNED = 2048  # elements that a block of threads updates at a time


class Update:
    """Updates the values of some runs in place.

    Attributes:
        buffers: the values, gradients and optimizer state.
    """

    def __init__(self, config: OptimizerConfig, buffers: Buffers) -> None:
        """Use the optimizer's fused step if it has one, else its `update` for each tensor.

        Raises:
            ConfigError: see `check_update`.
        """
        self.config, self.buffers = config, buffers
        fused = config.fused(buffers)
        if fused is None:
            check_update(config)
        self._take_step = fused or self._update_each

    def __call__(self, lr: float | Tensor) -> None:
        """Take a step; on a CUDA device the learning rate may be a tensor."""
        self._take_step(lr)
        self.buffers.begun = True

    def _update_each(self, lr: float | Tensor) -> None:
        """Call the optimizer's own `update` for each tensor."""
        buffers = self.buffers
        numbers = [(number, number.clone()) for number in buffers.numbers.values()]
        for index, (values, gradients) in enumerate(zip(buffers.values, buffers.gradients, strict=True)):
            for number, old in numbers:  # shared by all tensors, and each update would increment it
                number.copy_(old)
            tensors = {name: tensors[index] for name, tensors in buffers.tensors.items()}
            self.config.update(values, gradients, {**tensors, **buffers.numbers}, lr)


def tensors_of(config: OptimizerConfig) -> list[str]:
    """Return the names of the optimizer's state tensors, which have a parameter's shape."""
    return [name for name, kind in config.slots().items() if kind == "tensor"]


@dataclass(frozen=True)
class Block:
    """Adjacent runs with equal optimizers and schedules, which share one update.

    Attributes:
        first: the first run.
        stop: the run after the last.
        update: updates these runs.
    """

    first: int
    stop: int
    update: Update


class Optimizers:
    """The optimizers of K runs and their state.

    Attributes:
        blocks: adjacent runs that share one update.
    """

    def __init__(
        self,
        parameters: Flat,
        gradients: Tensor,
        configs: Sequence[Config],
        factors: Mapping[str, Sequence[float]],
    ) -> None:
        """Allocate the state.

        Args:
            parameters: the runs' parameters.
            gradients: (K · P), the gradients of `parameters`.
            configs: the runs' configs.
            factors: (K,) by parameter, what its steps are multiplied by; those of others are not.
        """
        self.parameters, self.configs = parameters, configs
        names = {name for config in configs for name in tensors_of(config.optimizer)}
        self.averages = {name: parameters.zeros_like() for name in sorted(names)}
        self.blocks = []
        for first, stop in equal_settings(configs):
            optimizer = configs[first].optimizer
            by_layer = optimizer.has_layers
            is_fused = gradients.is_cuda and type(optimizer).fused is not OptimizerConfig.fused
            buffers = [parameters.values, gradients, *(self.averages[name] for name in tensors_of(optimizer))]
            slices = [parameters.run_slices(buffer, first, stop, by_layer) for buffer in buffers]
            values, slopes, *averages = map(pieces, slices) if is_fused and not by_layer else slices
            tensors = dict(zip(tensors_of(optimizer), averages, strict=True))
            numbers = {
                name: torch.zeros((), device=gradients.device)
                for name, kind in optimizer.slots().items()
                if kind == "number"
            }
            known = tuple(parameters.shapes) if by_layer else ()
            update = Update(optimizer, Buffers(values, slopes, tensors, numbers, names=known))
            self.blocks.append(Block(first, stop, update))
        self.longer = [
            (values, values.clone(), values.new_tensor(factors[name])[:, None])
            for name, values in zip(parameters.shapes, parameters.matrices(parameters.values), strict=True)
            if name in factors
        ]

    def __call__(self, lrs: Sequence[float | Tensor]) -> None:
        """Take a step with the learning rate of each block."""
        for values, before, _ in self.longer:
            before.copy_(values)
        for block, lr in zip(self.blocks, lrs, strict=True):
            block.update(lr)
        for values, before, factors in self.longer:
            torch.lerp(before, values, factors, out=values)

    def state(self, run: int) -> dict[str, Tensor]:
        """Return views of a run's state by `<parameter>/<slot>`; {} before the first step."""
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
        """Restore a run's state; either all runs of a block are restored or none."""
        self._block_of(run).update.buffers.begun = True
        for name, tensor in self.state(run).items():
            tensor.copy_(state[name])

    def _block_of(self, run: int) -> Block:
        return next(block for block in self.blocks if block.first <= run < block.stop)


def pieces(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Cut contiguous tensors into pieces for a fused CUDA kernel.

    A block of threads updates up to 65,536 elements of a tensor, and a launch has at most 36 tensors: small
    tensors in one piece would leave most of the device idle.
    """
    count, per_piece = sum(tensor.numel() for tensor in tensors), max(1, MOST_TENSORS - len(tensors))
    size = -(-count // (per_piece * ALIGNED)) * ALIGNED
    return [piece for tensor in tensors for piece in torch.split(tensor.view(-1), size)]


def equal_settings(configs: Sequence[Config]) -> list[tuple[int, int]]:
    """Return (first, stop) of adjacent runs with equal optimizers and schedules.

    Runs with a plateau schedule are never grouped, since each has its own learning rate; those with schedules
    over time only if they have the same time.
    """

    def settings(run: int) -> tuple[Any, ...]:
        config = configs[run]
        scheduler = config.scheduler
        own = run if isinstance(scheduler, Plateau) else -1
        limit = config.trainer.time_limit if scheduler.is_over_time() else None
        return config.optimizer, scheduler, own, limit

    blocks, first = [], 0
    for _, block in groupby(range(len(configs)), key=settings):
        stop = first + len(list(block))
        blocks.append((first, stop))
        first = stop
    return blocks
