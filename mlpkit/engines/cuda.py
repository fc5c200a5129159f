"""The engine on a CUDA device: the host only says which rows are next, and never waits in an epoch.

A step is recorded as a CUDA graph, the second time that its shape comes, and then replayed. What is not
finite sets a run's flag on the device, and is told by `failures`. From then on its
gradients are zero; where it is the only one, the optimizer's kernels leave its weights as they are. Learning
rates are float32 there, whatever the weights are.
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
    """See `Engine`; failures are found on the device and told by `failures`."""

    def _allocate(self, networks: Sequence[Network]) -> None:
        runs, device = len(networks), self.device
        # Of each run: whether it has failed, the step that failed, counted from one, and the epoch.
        self._failed = torch.zeros(runs, 1, dtype=torch.bool, device=device)
        self._finite_steps = torch.zeros(runs, 1, device=device)
        self.flag = torch.zeros(1, device=device) if runs == 1 else None
        self._first_unread: tuple[int, int] | None = None  # step and epoch since the flags were read
        super()._allocate(networks)
        self._norms = torch.zeros_like(self.clip.norms)
        self._lrs = [torch.zeros((), device=device) for _ in self.optimizers.blocks]
        generators = [random for of in self.dropout for random in of]
        # Autograd and augmentation make new tensors, and operations that must repeat to the last bit may look
        # at their indices first: such steps are not recorded.
        config = self._configs[0].trainer
        is_fixed = (
            self.gradients_class is ManualGradients and self.augmentation is None and not config.deterministic
        )
        self.graphs = Graphs(device, generators) if is_fixed else None
        self._fixed: dict[tuple[int, int], Tensor] = {}

    def step(self, rows: Rows, lrs: Sequence[float], epoch: int, step: int, measure: bool) -> dict[int, str]:
        """See `Engine.step`; what is not finite is told by `failures`."""
        randoms = self._seed(epoch, step)
        if self._first_unread is None:
            self._first_unread = step, epoch
        for tensor, lr in zip(self._lrs, lrs, strict=True):
            tensor.fill_(lr)
        parts: list[Rows] = [rows]
        if not isinstance(rows, slice):
            parts = list(torch.split(rows, self.batch_size, dim=-1))
        with self.context:
            if self.graphs is None:
                outputs = self._take_step(parts, randoms, measure)
            else:
                fixed = [self._fixed_rows(index, part) for index, part in enumerate(parts)]
                key = tuple(part.shape[-1] for part in fixed if isinstance(part, Tensor)), measure
                begun = all(block.update.buffers.begun for block in self.optimizers.blocks)
                outputs = self.graphs.run((key, begun), lambda: self._take_step(fixed, None, measure))
            for part, found in zip(parts, outputs, strict=True):
                self.epoch_outputs.add(part, found)
        for block in self.optimizers.blocks:
            block.update.buffers.begun = True
        if measure:  # a graph will write over them before they are read
            self.clip.norms = self._norms.clone()
        return {}

    def _take_step(
        self, parts: Sequence[Rows], randoms: list[torch.Generator] | None, measure: bool
    ) -> list[Tensor]:
        """Do what a graph records: the gradients of some batches, the flags, and the update."""
        count = sum(self.data.rows if isinstance(part, slice) else part.shape[-1] for part in parts)
        outputs = []
        for index, part in enumerate(parts):
            found = self.filler.fill(part, count, index > 0, randoms)
            losses = self.data.losses(found.mT, "train", part).view(self.runs, -1)
            self._failed.logical_or_(~losses.isfinite().all(1, keepdim=True))
            # The next batch of the same size writes over these.
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
        self.optimizers(self._lrs)
        return outputs

    def _fixed_rows(self, index: int, rows: Rows) -> Rows:
        """Return the tensor in which a record finds the rows of a step's batch."""
        if isinstance(rows, slice):
            return rows
        key = index, rows.shape[-1]
        if key not in self._fixed:
            self._fixed[key] = torch.empty_like(rows)
        return self._fixed[key].copy_(rows, non_blocking=True)

    def failures(self) -> dict[int, NonFiniteError]:
        """Wait for the device, and return which runs have failed, and where."""
        if self._first_unread is None:
            return {}
        (first, epoch), self._first_unread = self._first_unread, None
        failed, good = self._failed.view(-1).tolist(), self._finite_steps.view(-1).tolist()
        self._finite_steps.zero_()
        return {
            run: diverged(first + int(good[run]) + 1, epoch + 1, "the loss or a gradient is not finite")
            for run in range(self.runs)
            if failed[run]
        }

    def state(self, run: int) -> dict[str, Tensors]:
        """See `Engine.state`; on the CPU."""
        return {kind: {n: t.cpu() for n, t in of.items()} for kind, of in super().state(run).items()}


class Graphs:
    """Runs programs of fixed shape on one CUDA device, each first as it is and from then on from a record.

    A program reads and writes the same tensors each time, draws from the registered generators alone and
    never waits for the device.
    """

    def __init__(self, device: str, generators: Sequence[torch.Generator]) -> None:
        """Take the device, and its generators, which may be seeded anew between two runs."""
        self.device, self.generators = device, generators
        self.warm: set[Hashable] = set()
        self.recorded: dict[Hashable, tuple[torch.cuda.CUDAGraph, list[Tensor]]] = {}

    def run(self, key: Hashable, program: Callable[[], list[Tensor]]) -> list[Tensor]:
        """Run a program, and return its outputs; programs with the same key are the same."""
        if key in self.recorded:
            graph, outputs = self.recorded[key]
            graph.replay()
            return outputs
        if key not in self.warm:  # libraries make their workspaces now, which cannot be recorded
            self.warm.add(key)
            return program()
        graph = torch.cuda.CUDAGraph()
        for random in self.generators:
            graph.register_generator_state(random)
        # Torch would record on a stream of the current device, which may be another one.
        stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        with torch.cuda.device(self.device), torch.cuda.graph(graph, stream=stream):
            outputs = program()
        self.recorded[key] = graph, outputs
        graph.replay()
        return outputs
