"""K runs as one program: networks of one shape, trained side by side.

What differs from run to run may be all but shapes: seed and thereby weights, order, masks and changed pixels;
the optimizer's settings; limits of the gradient; the rate of dropout; the dataset's seed. Runs whose
optimizers are set alike lie side by side, so that one operation updates them. Whatever a run draws, it draws
for itself, so that its numbers are those that it would have alone, but for how products are rounded.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlpkit.batches import Rows
from mlpkit.data.augment import Augmentation
from mlpkit.engines.backpropagation import Layer, Pass
from mlpkit.engines.chunk import Chunk, numbers_to_watch
from mlpkit.engines.data import EVALUATION_ROWS, DeviceData
from mlpkit.engines.data_of_many import DataOfMany, Sums
from mlpkit.engines.member import Member, Part
from mlpkit.engines.side_by_side import SideBySide
from mlpkit.engines.stacked import bound_of
from mlpkit.matmul import EXACT, Matmul
from mlpkit.models.dropout import seed_dropout
from mlpkit.program import Program, carry_out
from mlpkit.randomness import generator
from mlpkit.tasks import Task


class Together:
    """Trains the runs.

    Attributes:
        members: the runs, in the order of their rows.
        state: what they have side by side.
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
            self.members.append(Member(part, data, device, matmul))
        self.bound = min(bounds.values())
        self.untracked = torch.inference_mode()
        self._lay_out(self.members)

    # ----------------------------------------------------------------------------------------- layout

    def _lay_out(self, members: list[Member]) -> None:
        """Put what the members have side by side."""
        self.members, networks = members, [member.network for member in members]
        self.state = SideBySide(networks, [member.config for member in members], self.rows)
        for row, member in enumerate(members):
            member.join(self.state, row)
        whole, values = self.batch_size == "full", self.state.flat.values
        width = self.state.outputs.shape[-1]
        self.data = DataOfMany([member.data for member in members], self.task, width, values.dtype, whole)
        self.chunks: dict[tuple[int, bool], Chunk] = {}  # by their rows, and whether these are the split
        self.passes: dict[int, Pass] = {}  # likewise, for evaluation
        self.forwards: dict[tuple[str, int], Program] = {}  # by the split and its first row

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the members; those who leave keep their state."""
        before, kept = self.state, [self.members[row] for row in rows]
        states = [member.optimizer_state() for member in kept]
        for row, member in enumerate(self.members):
            if row not in rows:
                member.leave()
        if not kept:
            self.members, self.state.blocks = [], []
            return
        self._lay_out(kept)
        for member, state in zip(kept, states, strict=True):
            member.load_optimizer_state(state)
        self.state.take_over(before, rows)

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
            self.state.forget(list(failures))
            self.state.clip(measure)
            self.state.update(rates)
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
            self.state.put(part, chunk.outputs)
            for numbers in chunk.watched:
                if not np.vdot(numbers, numbers) < self.bound:
                    failures |= self._find(chunk, part)
        return failures

    def _find(self, chunk: Chunk, rows: Rows) -> dict[int, str]:
        """Return what is not finite now that some rows have been differentiated, by the member's row."""
        found = {}
        losses = self.data.losses(chunk.outputs, "train", rows)
        of_each = self.state.of_each
        for row in range(len(self.members)):
            if not bool(losses[row].isfinite().all()):
                found[row] = "the loss"
                continue
            names = (name for name, gradient in of_each.items() if not bool(gradient[row].isfinite().all()))
            if name := next(names, None):
                found[row] = f"the gradient of {name}"
        return found

    def _chunk(self, rows: int, whole: bool) -> Chunk:
        """As `StackedEngine._chunk`, for all members at once."""
        key = rows, whole
        if key not in self.chunks:
            layers, data = Pass(self.state.layers, rows, self.matmul), self.data
            watched = numbers_to_watch(layers, self.state.flat.gradients)
            augmented = self.members[0].data.augmentation is not None
            self.chunks[key] = Chunk(
                layers, self.task, data.inputs["train"], data.expected, watched, whole, augmented
            )
        return self.chunks[key]

    # ----------------------------------------------------------------------------------------- scores

    def collect(self) -> Sums:
        """Return sums over the rows since the last call, each before its update; see `DataOfMany.sums`."""
        state = self.state
        seen, state.seen, state.seen_all = state.seen, [], False
        with self.untracked:
            rows = torch.cat(seen, dim=1) if seen else slice(None)
            if isinstance(rows, slice) or rows.shape[1] == self.rows:
                return self.data.sums(state.outputs, "train", slice(None))
            outputs = state.outputs.view(-1, state.outputs.shape[-1])[rows + state.offsets]
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
                    self.passes[size] = Pass(without_dropout(self.state.layers), size, of_scores)
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
        with self.untracked:
            self.state.remember(better)


def without_dropout(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers as they are evaluated."""
    return [replace(layer, dropout=()) for layer in layers]
