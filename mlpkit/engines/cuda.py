"""The engine on a CUDA device: the host only sends the rows of each step, and never waits within an epoch.

A step of a given shape runs normally once, is captured as a CUDA graph the second time, and is then replayed.
After each step the device notes the largest gradient of each tensor; `failures` reads which runs have had one
that is not finite, and in which step. Such a run is trained on until then: its numbers concern no other run.
Learning rates are float32 on the device, whatever the dtype of the weights.
"""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence

import torch
from torch import Tensor

from mlpkit.data.augment import Draws
from mlpkit.engines.batches import Rows
from mlpkit.engines.engine import Engine
from mlpkit.engines.manual import ManualGradients
from mlpkit.errors import NonFiniteError, diverged
from mlpkit.folders.state import Tensors
from mlpkit.models.torch_network import Network


class CudaEngine(Engine):
    """See `Engine`; gradients are checked on the device, and `failures` returns the result."""

    def _allocate(self, networks: Sequence[Network]) -> None:
        super()._allocate(networks)
        # (K, tensors): the largest gradients of a step and of all steps, and the steps so far in which they
        # were finite. A step whose loss alone is infinite is found when the epoch is scored.
        self._largest = self.gradients.new_zeros(self.runs, len(self._gradient_rows))
        self._worst, self._finite_steps = torch.zeros_like(self._largest), torch.zeros_like(self._largest)
        self._first_unread: tuple[int, int] | None = None  # step and epoch of the first step since `failures`
        self._norms = torch.zeros_like(self.clip.norms)
        self._lrs = torch.zeros(len(self.optimizers.blocks), device=self.device)
        self._lr_of_block, self._sent = list(self._lrs.unbind()), list[float]()
        self._has_begun = False  # whether optimizers have taken a step
        generators = [generator for generators in self.dropout for generator in generators]
        # Steps with autograd or augmentation cannot be captured, since they allocate tensors; deterministic
        # operations may wait for the device to check their indices.
        config = self._configs[0].trainer
        is_fixed = (
            self.gradients_class is ManualGradients and self.augmentation is None and not config.deterministic
        )
        self.graphs = Graphs(self.device, generators) if is_fixed else None
        self._fixed: dict[tuple[int, int], Tensor] = {}

    def rows_of_steps(self, epoch: int, first: int) -> Iterator[Rows]:
        """See `Engine.rows_of_steps`; the next order is drawn while the device computes the last steps."""
        yield from super().rows_of_steps(epoch, first)
        trainer = self._configs[0].trainer
        if trainer.batch_size != "full" and epoch + 1 < trainer.epochs:
            self.orders.of_pass((epoch + 1) * self.steps.per_epoch // self.steps.per_pass)

    def step(self, rows: Rows, lrs: Sequence[float], epoch: int, step: int, measure: bool) -> dict[int, str]:
        """See `Engine.step`; always returns {}: `failures` returns what is not finite."""
        randoms = self.seed_draws(epoch, step)
        if self._first_unread is None:
            self._first_unread = step, epoch
        if lrs != self._sent:
            self._lrs.copy_(torch.tensor(lrs), non_blocking=True)
            self._sent = list(lrs)
        parts: list[Rows] = [rows]
        if isinstance(rows, Tensor) and rows.shape[-1] > self.batch_size:
            parts = list(torch.split(rows, self.batch_size, dim=-1))
        self._has_begun = self._has_begun or all(
            block.update.buffers.begun for block in self.optimizers.blocks
        )
        with self.context:
            if self.graphs is None:
                outputs = self._run_step(parts, randoms, measure)
            else:
                fixed = [self._fixed_rows(index, part) for index, part in enumerate(parts)]
                sizes = tuple(part.shape[-1] for part in fixed if isinstance(part, Tensor))
                key = sizes, measure, self._has_begun
                outputs = self.graphs.run(key, lambda: self._run_step(fixed, None, measure))
            if self.average is not None:
                self.weights.average(self.average(epoch, step))
            for part, of_part in zip(parts, outputs, strict=True):
                self.epoch_outputs.add(part, of_part)
        if not self._has_begun:
            for block in self.optimizers.blocks:
                block.update.buffers.begun = True
        if measure:  # the next replay overwrites them before they are read
            self.clip.norms = self._norms.clone()
        return {}

    def _run_step(self, parts: Sequence[Rows], randoms: list[Draws] | None, measure: bool) -> list[Tensor]:
        """Compute the gradients of a step's batches and update the weights; graphs capture this."""
        count = sum(self.data.rows if isinstance(part, slice) else part.shape[-1] for part in parts)
        outputs = []
        for index, part in enumerate(parts):
            found = self.filler.fill(part, count, index > 0, randoms)
            # The next batch of the same size overwrites the outputs.
            outputs.append(found if len(parts) == 1 else found.clone())
        for index, gradients in enumerate(self._gradient_rows):
            torch.linalg.vector_norm(gradients, math.inf, dim=1, out=self._largest[:, index])
        torch.maximum(self._worst, self._largest, out=self._worst)  # NaN if one is
        self._finite_steps.add_(self._worst < math.inf)
        self.clip(measure)
        if measure:
            self._norms.copy_(self.clip.norms)
        self.optimizers(self._lr_of_block)
        return outputs

    def _fixed_rows(self, index: int, rows: Rows) -> Rows:
        """Copy the rows of a step's batch to the fixed tensor that graphs read, and return it."""
        if isinstance(rows, slice):
            return rows
        key = index, rows.shape[-1]
        if key not in self._fixed:
            self._fixed[key] = torch.empty_like(rows)
        return self._fixed[key].copy_(rows, non_blocking=True)

    def failures(self) -> dict[int, NonFiniteError]:
        """Wait for the device; return an error with step and epoch for each run that has failed."""
        if self._first_unread is None:
            return {}
        (first, epoch), self._first_unread = self._first_unread, None
        finite_steps = self._finite_steps.amin(1).tolist()
        failed = (~(self._worst < math.inf)).any(1).tolist()
        self._finite_steps.zero_()
        return {
            run: diverged(first + int(finite_steps[run]) + 1, epoch + 1, "a gradient is not finite")
            for run in range(self.runs)
            if failed[run]
        }

    def state(self, run: int) -> dict[str, Tensors]:
        """See `Engine.state`; the tensors are on the CPU."""
        return {
            kind: {n: t.cpu() for n, t in tensors.items()} for kind, tensors in super().state(run).items()
        }


class Graphs:
    """Runs functions with CUDA graphs: the first call is normal, the second is captured, then replayed.

    A function must read and write the same tensors each time, draw only from the given generators and never
    wait for the device.
    """

    def __init__(self, device: str, generators: Sequence[torch.Generator]) -> None:
        """Use a device and its generators, which may be seeded between calls."""
        self.device, self.generators = device, generators
        self.warm: set[Hashable] = set()
        self.captured: dict[Hashable, tuple[torch.cuda.CUDAGraph, list[Tensor]]] = {}

    def run(self, key: Hashable, function: Callable[[], list[Tensor]]) -> list[Tensor]:
        """Run a function and return its outputs; the same key must always mean the same function."""
        if key in self.captured:
            graph, outputs = self.captured[key]
            graph.replay()
            return outputs
        if key not in self.warm:  # libraries allocate their workspaces, which cannot be captured
            self.warm.add(key)
            return function()
        graph = torch.cuda.CUDAGraph()
        for generator in self.generators:
            graph.register_generator_state(generator)
        # By default torch captures on a stream of the current device, which may be another one.
        stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        with torch.cuda.device(self.device), torch.cuda.graph(graph, stream=stream):
            outputs = function()
        self.captured[key] = graph, outputs
        graph.replay()
        return outputs
