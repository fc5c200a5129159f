"""The engine on a CUDA device: the host only sends the rows of each step, and never waits within an epoch.

A step of a given shape runs normally once, is captured as a CUDA graph the second time, and is then replayed.
A loss or gradient that is not finite sets the run's flag on the device; `failures` reads the flags. A failed
run's gradients are set to zero; with K = 1, the optimizer's kernels skip the update. Learning rates are
float32 on the device, whatever the dtype of the weights.
"""

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from mlpkit.engines.batches import Rows
from mlpkit.engines.engine import Engine
from mlpkit.engines.manual import ManualGradients
from mlpkit.errors import NonFiniteError, diverged
from mlpkit.models.torch_network import Network
from mlpkit.runs.state import Tensors


class CudaEngine(Engine):
    """See `Engine`; losses and gradients are checked on the device, and `failures` returns the result."""

    def _allocate(self, networks: Sequence[Network]) -> None:
        runs, device = len(networks), self.device
        # For each run: whether it has failed, and the finite steps since `failures` was called.
        self._failed = torch.zeros(runs, 1, dtype=torch.bool, device=device)
        self._finite_steps = torch.zeros(runs, 1, device=device)
        self.flag = torch.zeros(1, device=device) if runs == 1 else None
        self._first_unread: tuple[int, int] | None = None  # step and epoch of the first step since `failures`
        super()._allocate(networks)
        self._norms = torch.zeros_like(self.clip.norms)
        lrs = torch.zeros(len(self.optimizers.blocks), device=device)
        self._lrs, self._lr_of_block, self._sent = lrs, list(lrs.unbind()), list[float]()
        generators = [generator for generators in self.dropout for generator in generators]
        # Steps with autograd or augmentation cannot be captured, since they allocate tensors; deterministic
        # operations may wait for the device to check their indices.
        config = self._configs[0].trainer
        is_fixed = (
            self.gradients_class is ManualGradients and self.augmentation is None and not config.deterministic
        )
        self.graphs = Graphs(device, generators) if is_fixed else None
        self._fixed: dict[tuple[int, int], Tensor] = {}

    def step(self, rows: Rows, lrs: Sequence[float], epoch: int, step: int, measure: bool) -> dict[int, str]:
        """See `Engine.step`; always returns {}: `failures` returns what is not finite."""
        randoms = self._seed(epoch, step)
        if self._first_unread is None:
            self._first_unread = step, epoch
        if lrs != self._sent:
            self._lrs.copy_(torch.tensor(lrs), non_blocking=True)
            self._sent = list(lrs)
        parts: list[Rows] = [rows]
        if not isinstance(rows, slice):
            parts = list(torch.split(rows, self.batch_size, dim=-1))
        with self.context:
            if self.graphs is None:
                outputs = self._run_step(parts, randoms, measure)
            else:
                fixed = [self._fixed_rows(index, part) for index, part in enumerate(parts)]
                key = tuple(part.shape[-1] for part in fixed if isinstance(part, Tensor)), measure
                begun = all(block.update.buffers.begun for block in self.optimizers.blocks)
                outputs = self.graphs.run((key, begun), lambda: self._run_step(fixed, None, measure))
            for part, of_part in zip(parts, outputs, strict=True):
                self.epoch_outputs.add(part, of_part)
        for block in self.optimizers.blocks:
            block.update.buffers.begun = True
        if measure:  # the next replay overwrites them before they are read
            self.clip.norms = self._norms.clone()
        return {}

    def _run_step(
        self, parts: Sequence[Rows], randoms: list[torch.Generator] | None, measure: bool
    ) -> list[Tensor]:
        """Compute the gradients of a step's batches, set flags, update weights; graphs capture this."""
        count = sum(self.data.rows if isinstance(part, slice) else part.shape[-1] for part in parts)
        outputs = []
        for index, part in enumerate(parts):
            found = self.filler.fill(part, count, index > 0, randoms)
            losses = self.data.losses(found.mT, "train", part).view(self.runs, -1)
            self._failed.logical_or_(~losses.isfinite().all(1, keepdim=True))
            # The next batch of the same size overwrites the outputs.
            outputs.append(found if len(parts) == 1 else found.clone())
        for gradients in self._gradient_rows:
            self._failed.logical_or_(~gradients.isfinite().all(1, keepdim=True))
        self._finite_steps.add_(~self._failed)
        if self.flag is not None:
            self.flag.copy_(self._failed[0])
        else:
            for gradients in self._gradient_rows:
                gradients.masked_fill_(self._failed, 0.0)
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
        failed, finite = self._failed.view(-1).tolist(), self._finite_steps.view(-1).tolist()
        self._finite_steps.zero_()
        return {
            run: diverged(first + int(finite[run]) + 1, epoch + 1, "the loss or a gradient is not finite")
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
