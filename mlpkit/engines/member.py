"""One of several runs that are trained together: what it brings along, and how its state is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mlpkit.batches import Rows
from mlpkit.config import Config
from mlpkit.data.dataset import Split
from mlpkit.engines.data import DeviceData, NetworkEngine
from mlpkit.models import Network

if TYPE_CHECKING:
    from mlpkit.engines.together import Block, Together


@dataclass(frozen=True)
class Part:
    """What a run brings along.

    Attributes:
        network: its model.
        splits: its data, which several runs may share.
        config: its settings.
    """

    network: Network
    splits: Mapping[str, Split]
    config: Config


class Member(NetworkEngine):
    """One of the runs, for whoever wants its scores or its state; its steps are taken with the others'.

    Attributes:
        row: where its values lie among the others'; the last one when it has left them.
        best: its best weights so far, by name.
        norm: of its last gradient, once it has left the others.
    """

    name = "stacked"

    def __init__(self, together: "Together", part: Part, data: DeviceData) -> None:
        """Take what the run brings along."""
        self.together, self.network, self.data, self.config = together, part.network.eval(), data, part.config
        self.matmul, self.device = together.matmul, together.device
        self.dropout = part.network.dropout_generators()
        self.row, self.best = 0, dict[str, Tensor]()
        self.norm: float | None = None

    def best_state(self) -> dict[str, Tensor]:
        """Return copies of the best weights, and of the buffers, by name."""
        return {**self.model_state(), **{name: values.clone() for name, values in self.best.items()}}

    def load_best_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the best weights back."""
        for name, values in self.best.items():
            values.copy_(state[name])

    def optimizer_state(self) -> dict[str, Tensor]:
        """See `Engine.optimizer_state`."""
        block, slots = self._slots()
        return {name: values.clone() for name, values in slots.items()} if block.update.begun else {}

    def load_optimizer_state(self, state: dict[str, Tensor]) -> None:
        """See `Engine.load_optimizer_state`; neighbours in a block have all begun, or none has."""
        block, slots = self._slots()
        block.update.begun = bool(state)
        with self.together.untracked:
            for name, values in slots.items():
                if state:
                    values.copy_(state[name])
                else:
                    values.zero_()

    def _slots(self) -> "tuple[Block, dict[str, Tensor]]":
        """Return the block that this run is in, and views of its own optimizer's tensors by name."""
        together = self.together
        block = next(block for block in together.blocks if block.first <= self.row < block.stop)
        named: dict[str, Tensor] = {}
        for slot, values in block.update.slots.items():
            if values[0].dim():
                of_it = (of_block[self.row - block.first] for of_block in values)
            else:  # one number for all
                of_it = (values[0] for _ in together.shapes)
            named |= {f"{name}/{slot}": its for name, its in zip(together.shapes, of_it, strict=True)}
        return block, named

    def epoch_state(self) -> dict[str, Tensor]:
        """See `Engine.epoch_state`."""
        together, row = self.together, self.row
        state = {"gradient_norm": together.norms[row, 0].clone()}
        if together.seen or together.seen_all:
            rows = torch.cat([part[row] for part in together.seen]) if together.seen else slice(None)
            state["outputs"] = together.outputs[row][rows].clone()
            state["losses"] = together.task.loss(state["outputs"], self.data.scaled["train"][rows])
            if not isinstance(rows, slice):
                state["rows"] = rows
        return state

    def load_epoch_state(self, state: dict[str, Tensor]) -> None:
        """See `Engine.load_epoch_state`; between two epochs, where runs join, no rows have been seen."""
        if "gradient_norm" in state:
            self.together.norms[self.row] = state["gradient_norm"]

    def gradient_norm(self) -> float:
        """See `Engine.gradient_norm`."""
        return float(self.together.norms[self.row]) if self.norm is None else self.norm

    def collect(self) -> dict[str, float]:
        """Not for one of many; see `Together.collect`."""
        raise NotImplementedError

    def step(self, rows: Rows, rate: float, epoch: int, step: int, measure: bool) -> None:
        """Not for one of many; see `Together.step`."""
        raise NotImplementedError
