"""K runs as one program: networks of one shape, trained side by side.

What differs from run to run may be all but shapes: seed and thereby weights, order, masks and changed pixels;
the optimizer's settings; limits of the gradient; the rate of dropout; the dataset's seed. Runs whose
optimizers are set alike lie side by side, so that one operation updates them. Whatever a run draws, it draws
for itself, so that its numbers are those that it would have alone, but for how products are rounded.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlpkit.batches import Rows
from mlpkit.config import Config
from mlpkit.data.augment import Augmentation
from mlpkit.engines.backpropagation import Layer, Pass
from mlpkit.engines.chunk import Chunk, numbers_to_watch
from mlpkit.engines.data import EVALUATION_ROWS, DeviceData
from mlpkit.engines.data_of_many import DataOfMany, Sums
from mlpkit.engines.flat import Flat
from mlpkit.engines.member import Member, Part
from mlpkit.engines.stacked import bound_of, layers_of
from mlpkit.engines.updates import Update, build_update
from mlpkit.matmul import EXACT, Matmul
from mlpkit.models.dropout import seed_dropout
from mlpkit.program import Program, carry_out
from mlpkit.randomness import generator
from mlpkit.schema.optimizer import OptimizerConfig
from mlpkit.schema.scheduler import Plateau, SchedulerConfig
from mlpkit.tasks import Task


@dataclass(frozen=True)
class Block:
    """Neighbours whose optimizers and schedules are set alike.

    Attributes:
        first: row of the first.
        stop: row after the last.
        update: what changes their values.
    """

    first: int
    stop: int
    update: Update

    @property
    def size(self) -> int:
        """How many there are."""
        return self.stop - self.first


class Together:
    """Trains the runs.

    Attributes:
        members: the runs, in the order of their rows.
        shapes: of each parameter, by name.
        of_each: (K, size), the gradients of each parameter, by name.
        norms: (K, 1), of the gradients that were last measured.
        data: theirs.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        task: Task,
        device: str,
        augmentation: Augmentation | None = None,
        matmul: Matmul = EXACT,
    ) -> None:
        """Move everything to the device and make the buffers.

        Args:
            parts: the runs; those whose optimizers are set alike should be neighbours.
            task: of all of them.
            device: cpu.
            augmentation: of all of them.
            matmul: how products are computed.
        """
        self.task, self.device, self.matmul = task, device, matmul
        trainer, train = parts[0].config.trainer, parts[0].splits["train"].inputs
        self.rows, self.batch_size = len(train), trainer.batch_size
        known: dict[int, DeviceData] = {}  # by the splits' identity
        bounds: dict[int, float] = {}
        batch = self.rows if self.batch_size == "full" else int(self.batch_size)
        self.members = []
        for part in parts:
            if (key := id(part.splits)) not in known:
                known[key] = DeviceData(part.network, task, part.splits, device, augmentation)
                bounds[key] = bound_of(part.network.scaling, part.splits["train"].inputs, batch)
            data = copy.copy(known[key])
            data.network = part.network
            self.members.append(Member(self, part, data))
        self.bound = min(bounds.values())
        self.untracked = torch.inference_mode()
        self.seen: list[Tensor] = []  # (K, rows) of each chunk since the last collect
        self.seen_all = False  # since then, by a step of all rows
        self._lay_out(self.members)

    # ----------------------------------------------------------------------------------------- layout

    def _lay_out(self, members: list[Member]) -> None:
        """Put the members' values side by side."""
        best = [member.best for member in members]
        self.members, networks = members, [member.network for member in members]
        self.flat = Flat(networks)
        self.shapes = self.flat.shapes
        self.values, self.gradients = self.flat.values, self.flat.gradients
        self.layers = layers_of([network.layers for network in networks], self.flat, together=True)
        self.chunks: dict[tuple[int, bool], Chunk] = {}  # by their rows, and whether these are the split
        self.passes: dict[int, Pass] = {}  # likewise, for evaluation
        self.forwards: dict[tuple[str, int], Program] = {}  # by the split and its first row
        count = len(members)
        self.best = self.flat.views(self.values.clone())
        for row, member in enumerate(members):
            member.row, member.best = row, {name: values[row] for name, values in self.best.items()}
            if best[row]:
                member.load_best_state(best[row])
        self.of_each = {
            name: values.view(count, -1) for name, values in self.flat.views(self.gradients).items()
        }
        width = self.layers[-1].weight.shape[-2]
        whole = self.batch_size == "full"
        self.data = DataOfMany([m.data for m in members], self.task, width, self.values.dtype, whole)
        self.outputs = self.values.new_empty(count, self.rows, width)
        self.norms = self.values.new_zeros(count, 1)
        trainers = [member.config.trainer for member in members]
        self.norm_limits = self._limits([trainer.clip_norm for trainer in trainers])
        self.value_limits = self._limits([trainer.clip_value for trainer in trainers])
        self.blocks = []
        for _, neighbours in groupby(range(count), key=lambda row: alike(members[row].config, row)):
            rows = list(neighbours)
            part = slice(rows[0], rows[-1] + 1)
            values, gradients = (
                [view[part] for view in self.flat.views(buffer).values()]
                for buffer in (self.values, self.gradients)
            )
            update = build_update(members[rows[0]].config.optimizer, values, gradients)
            self.blocks.append(Block(rows[0], rows[-1] + 1, update))

    def _limits(self, limits: Sequence[float | None]) -> Tensor | None:
        """Return (K, 1) limits, or None where there is none."""
        if all(limit is None for limit in limits):
            return None
        return self.values.new_tensor([[math.inf if limit is None else limit] for limit in limits])

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the members; those who leave keep their state."""
        kept = [self.members[row] for row in rows]
        states = [member.optimizer_state() for member in kept]
        where = torch.tensor(rows, dtype=torch.int64, device=self.device)
        outputs, norms, seen = self.outputs[where], self.norms[where], [part[where] for part in self.seen]
        for row, member in enumerate(self.members):
            if row not in rows:
                member.best = {name: values.clone() for name, values in member.best.items()}
                member.norm = float(self.norms[row])
        if not kept:
            self.members, self.blocks = [], []
            return
        self._lay_out(kept)
        for member, state in zip(kept, states, strict=True):
            member.load_optimizer_state(state)
        self.outputs, self.norms, self.seen = outputs, norms, seen

    # ------------------------------------------------------------------------------------------ steps

    def step(
        self, rows: Rows, rates: Sequence[float], epoch: int, step: int, measure: bool
    ) -> dict[int, str]:
        """Update all members' weights from some training rows.

        Args:
            rows: (K, rows of a step), or all rows.
            rates: the learning rate of each block.
            epoch: passes over the data before this one.
            step: optimizer steps before this one.
            measure: keep the gradients' norms.

        Returns:
            What is not finite, by the row of the member; what such a member does from now on means nothing.
        """
        random = None
        if self.members[0].dropout:
            for member in self.members:
                seed_dropout(member.dropout, member.config.seed, epoch, step)
        if self.members[0].data.augmentation is not None:
            random = [
                generator(member.config.seed, "augment", epoch, step, self.device) for member in self.members
            ]
        with self.untracked:
            failures = self._differentiate(rows, random)
            for row in failures:
                for gradients in self.of_each.values():
                    gradients[row].zero_()
            self._clip(measure)
            for block, rate in zip(self.blocks, rates, strict=True):
                block.update(rate)
        return failures

    def _differentiate(self, rows: Rows, random: list[torch.Generator] | None) -> dict[int, str]:
        failures: dict[int, str] = {}
        count = self.rows if isinstance(rows, slice) else rows.shape[1]
        parts: Sequence[Rows] = (rows,)
        if not isinstance(rows, slice):
            parts = torch.split(rows, int(self.batch_size), dim=1)
        for index, part in enumerate(parts):
            inputs = self.data.inputs["train"]
            if isinstance(part, slice):
                chunk = self._chunk(self.rows, whole=True)
            else:
                chunk = self._chunk(part.shape[1], whole=False)
                inputs = self.data.pick(inputs, part, chunk.inputs)
                self.data.pick(self.data.expected, part, chunk.expected)
            if random is not None:
                each = inputs.expand(len(self.members), -1, -1)
                for member, its, own, into in zip(self.members, each, random, chunk.inputs, strict=True):
                    into.copy_(member.data.augment(its, own))
            carry_out(chunk.program(count, add=index > 0))
            if isinstance(part, slice):
                self.outputs, self.seen_all = chunk.outputs, True
            else:
                width = self.outputs.shape[-1]
                places = (part + self.data.offsets).view(-1)
                self.outputs.view(-1, width).index_copy_(0, places, chunk.outputs.reshape(-1, width))
                self.seen.append(part)
            for numbers in chunk.watched:
                if not np.vdot(numbers, numbers) < self.bound:
                    failures |= self._find(chunk, part)
        return failures

    def _find(self, chunk: Chunk, rows: Rows) -> dict[int, str]:
        """Return what is not finite now that some rows have been differentiated, by the member's row."""
        found = {}
        losses = self.data.losses(chunk.outputs, "train", rows)
        views = self.flat.views(self.gradients)
        for row in range(len(self.members)):
            if not bool(losses[row].isfinite().all()):
                found[row] = "the loss"
                continue
            names = (name for name, gradient in views.items() if not bool(gradient[row].isfinite().all()))
            if name := next(names, None):
                found[row] = f"the gradient of {name}"
        return found

    def _chunk(self, rows: int, whole: bool) -> Chunk:
        """As `StackedEngine._chunk`, for all members at once."""
        key = rows, whole
        if key not in self.chunks:
            layers, data = Pass(self.layers, rows, self.matmul), self.data
            watched = numbers_to_watch(layers, self.gradients)
            augmented = self.members[0].data.augmentation is not None
            self.chunks[key] = Chunk(
                layers, self.task, data.inputs["train"], data.expected, watched, whole, augmented
            )
        return self.chunks[key]

    def _clip(self, measure: bool) -> None:
        if measure or self.norm_limits is not None:
            norms = self._norms()
            if measure:
                self.norms = norms
        if self.value_limits is not None:
            for gradients in self.of_each.values():
                gradients.clamp_(-self.value_limits, self.value_limits)
            if self.norm_limits is not None:
                norms = self._norms()
        if self.norm_limits is not None:
            factors = torch.clamp(self.norm_limits / (norms + 1e-6), max=1.0)
            factors = torch.where(self.norm_limits.isinf(), 1.0, factors)  # where there is no limit
            for gradients in self.of_each.values():
                gradients.mul_(factors)

    def _norms(self) -> Tensor:
        of_all = torch.cat(list(self.of_each.values()), dim=1)
        norms: Tensor = torch.linalg.vector_norm(of_all, dim=1, keepdim=True)
        return norms

    # ----------------------------------------------------------------------------------------- scores

    def collect(self) -> Sums:
        """Return sums over the rows since the last call, each before its update; see `DataOfMany.sums`."""
        seen, self.seen, self.seen_all = self.seen, [], False
        with self.untracked:
            if not seen:
                return self.data.sums(self.outputs, "train", slice(None))
            rows = torch.cat(seen, dim=1)
            if rows.shape[1] == self.rows:
                return self.data.sums(self.outputs, "train", slice(None))
            width = self.outputs.shape[-1]
            outputs = self.outputs.view(-1, width)[rows + self.data.offsets]
            return self.data.sums(outputs, "train", rows)

    def evaluate(self, split: str, poll: Callable[[], None] = lambda: None) -> Sums:
        """Return sums over a split; see `DataOfMany.sums`."""
        rows = self.data.inputs[split].shape[-2]
        largest = max(1, EVALUATION_ROWS // len(self.members))
        outputs: list[Tensor] = []
        with self.untracked:
            for start in range(0, rows, largest):
                if start:
                    poll()
                size = min(largest, rows - start)
                if size not in self.passes:
                    of_scores = self.matmul.of_scores
                    self.passes[size] = Pass(without_dropout(self.layers), size, of_scores)
                layers = self.passes[size]
                carry_out(self._forward(layers, split, slice(start, start + size)))
                outputs.append(layers.outputs.mT if rows <= largest else layers.outputs.mT.clone())
            whole = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)
            return self.data.sums(whole, split, slice(None))

    def _forward(self, layers: Pass, split: str, part: slice) -> Program:
        """Return what writes the outputs of a part of a split; kept, where its inputs are."""
        key, inputs, data = (split, part.start), self.data.inputs[split], self.members[0].data
        if split == "train" and data.augmentation is not None:  # raw ones, which are scaled each time
            return layers.up(data.network.scaling(inputs[..., part, :]))
        if key not in self.forwards:
            self.forwards[key] = layers.up(inputs[..., part, :])
        return self.forwards[key]

    def remember(self, better: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        """Keep the weights of some members (K,) as their best so far."""
        mask = torch.from_numpy(better)
        with self.untracked:
            for name, values in self.flat.views(self.values).items():
                best = self.best[name]
                torch.where(mask.view(-1, *[1] * (best.dim() - 1)), values, best, out=best)


def alike(config: Config, row: int) -> tuple[OptimizerConfig, SchedulerConfig, int]:
    """Return what neighbours must share to be updated at once; the plateau schedule is a run's own."""
    own = row if isinstance(config.scheduler, Plateau) else -1
    return config.optimizer, config.scheduler, own


def without_dropout(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers as they are evaluated."""
    return [replace(layer, dropout=()) for layer in layers]
