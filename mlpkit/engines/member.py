"""One of several runs that are trained together: what it brings along, and how its state is read."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mlpkit.batches import Rows
from mlpkit.config import Config
from mlpkit.data.dataset import Split
from mlpkit.engines.data import DeviceData, NetworkEngine
from mlpkit.engines.side_by_side import SideBySide
from mlpkit.matmul import Matmul
from mlpkit.models import Network


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
        state: where its values lie among the others'; whoever has left has none.
        row: its place there.
        best: its best weights so far, by name.
        norm: of its last gradient, once it has left the others.
    """

    name = "stacked"

    def __init__(self, part: Part, data: DeviceData, device: str, matmul: Matmul) -> None:
        """Take what the run brings along."""
        self.network, self.data, self.config = part.network.eval(), data, part.config
        self.device, self.matmul = device, matmul
        self.dropout = part.network.dropout_generators()
        self.state: SideBySide
        self.row, self.best = 0, dict[str, Tensor]()
        self.norm: float | None = None

    def join(self, state: SideBySide, row: int) -> None:
        """Take a place among the others; the best weights so far come along."""
        best, self.best = self.best, {name: values[row] for name, values in state.best.items()}
        self.state, self.row = state, row
        if best:
            self.load_best_state(best)

    def leave(self) -> None:
        """Go with copies of what is one's own, so that what the others had need not be kept."""
        self.norm = self.gradient_norm()
        self.best = {name: values.clone() for name, values in self.best.items()}
        del self.state

    def best_state(self) -> dict[str, Tensor]:
        """Return copies of the best weights, and of the buffers, by name."""
        return {**self.model_state(), **{name: values.clone() for name, values in self.best.items()}}

    def load_best_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the best weights back."""
        for name, values in self.best.items():
            values.copy_(state[name])

    def optimizer_state(self) -> dict[str, Tensor]:
        """See `Engine.optimizer_state`."""
        update, slots = self.state.slots(self.row)
        return {name: values.clone() for name, values in slots.items()} if update.begun else {}

    def load_optimizer_state(self, state: dict[str, Tensor]) -> None:
        """See `Engine.load_optimizer_state`; neighbours in a block have all begun, or none has."""
        update, slots = self.state.slots(self.row)
        update.begun = bool(state)
        with torch.inference_mode():
            for name, values in slots.items():
                if state:
                    values.copy_(state[name])
                else:
                    values.zero_()

    def epoch_state(self) -> dict[str, Tensor]:
        """See `Engine.epoch_state`."""
        state, rows = {"gradient_norm": self.state.norms[self.row, 0].clone()}, self.state.seen_by(self.row)
        if rows is not None:
            state["outputs"] = self.state.outputs[self.row][rows].clone()
            state["losses"] = self.data.task.loss(state["outputs"], self.data.scaled["train"][rows])
            if not isinstance(rows, slice):
                state["rows"] = rows
        return state

    def load_epoch_state(self, state: dict[str, Tensor]) -> None:
        """See `Engine.load_epoch_state`; between two epochs, where runs join, no rows have been seen."""
        if "gradient_norm" in state:
            self.state.norms[self.row] = state["gradient_norm"]

    def gradient_norm(self) -> float:
        """See `Engine.gradient_norm`."""
        return float(self.state.norms[self.row]) if self.norm is None else self.norm

    def collect(self) -> dict[str, float]:
        """Not for one of many; see `Together.collect`."""
        raise NotImplementedError

    def step(self, rows: Rows, rate: float, epoch: int, step: int, measure: bool) -> None:
        """Not for one of many; see `Together.step`."""
        raise NotImplementedError
