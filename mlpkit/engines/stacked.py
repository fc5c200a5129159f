"""Linear layers with activations and dropout between them, differentiated by hand.

What a step computes is derived in `mlpkit.engines.backpropagation`. Parameters, gradients and the
optimizer's averages each lie in one flat buffer, so that clipping and updating are one operation, and
in the steady state a step makes no new tensors but views.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from mlpkit.batches import Rows
from mlpkit.config import Config
from mlpkit.data.augment import Augmentation
from mlpkit.data.dataset import Split
from mlpkit.engines.activations import ACTIVATIONS
from mlpkit.engines.backpropagation import Layer, Pass
from mlpkit.engines.chunk import Chunk, Numbers, numbers_to_watch
from mlpkit.engines.data import DeviceData, NetworkEngine
from mlpkit.engines.flat import Flat
from mlpkit.engines.updates import build_update
from mlpkit.errors import diverged
from mlpkit.matmul import EXACT, Matmul
from mlpkit.models import Network
from mlpkit.models.dropout import Dropout, seed_dropout
from mlpkit.program import carry_out
from mlpkit.randomness import generator
from mlpkit.tasks import Task

SAFE = 1e40  # far below the square of the largest float32, and of a squared error that overflows


class StackedEngine(NetworkEngine):
    """The engine for stacks of linear layers; see `mlpkit.engines.Engine` for what its methods promise."""

    name = "stacked"

    def __init__(
        self,
        network: Network,
        task: Task,
        splits: Mapping[str, Split],
        config: Config,
        device: str,
        augmentation: Augmentation | None = None,
        matmul: Matmul = EXACT,
    ) -> None:
        """Move everything to the device and make the buffers."""
        self.network, self.task, self.device = network.eval(), task, device
        self.seed, trainer = config.seed, config.trainer
        self.clip_norm, self.clip_value = trainer.clip_norm, trainer.clip_value
        self.data = DeviceData(network, task, splits, device, augmentation)
        self.inputs, self.rows = self.data.inputs["train"], len(self.data.inputs["train"])
        self.batch_size = self.rows if trainer.batch_size == "full" else trainer.batch_size
        self.dropout = network.dropout_generators()
        self.flat = Flat([network])
        self.values, self.gradients = self.flat.values, self.flat.gradients
        self.prepare(config, augmentation)
        self.layers = layers_of([network.layers], self.flat)
        self.matmul = matmul
        self.chunks: dict[tuple[int, bool], Chunk] = {}  # by their rows, and whether these are the split
        width = self.layers[-1].weight.shape[-2]
        self.expected = task.expected(self.data.scaled["train"], width, self.values.dtype)
        self.bound = bound_of(network.scaling, splits["train"].inputs, self.batch_size)
        self.seen: list[Rows] = []  # since the last collect
        self.outputs = torch.empty_like(self.expected)  # of these rows, each before its update
        self.norm, self.measured = self.values.new_zeros(1), False
        # Operations that no gradient is ever asked of begin a tenth of a microsecond sooner, each of them.
        self.untracked = torch.inference_mode()

    def prepare(self, config: Config, augmentation: Augmentation | None) -> None:
        """Make what depends on the kind of device."""
        self.update = build_update(config.optimizer, [self.values], [self.gradients])

    def step(self, rows: Rows, rate: float, epoch: int, step: int, measure: bool) -> None:
        """See `Engine.step`."""
        seed_dropout(self.dropout, self.seed, epoch, step)
        random = None
        if self.data.augmentation is not None:
            random = generator(self.seed, "augment", epoch, step, self.device)
        count = self._count(rows)
        with self.untracked:
            culprit = self._differentiate(self._chunks(rows, count), count, random)
            if culprit is not None:
                raise diverged(step + 1, epoch + 1, f"{culprit} is not finite")
            self._clip(measure)
            self.update(rate)
        self.seen.append(rows)

    def _count(self, rows: Rows) -> int:
        return self.rows if isinstance(rows, slice) else rows.size(0)  # sooner than its len

    def _chunks(self, rows: Rows, count: int) -> Sequence[Rows]:
        """Return the batches that make a step of `count` rows."""
        if isinstance(rows, slice) or count <= self.batch_size:
            return (rows,)
        return torch.split(rows, self.batch_size)

    def _differentiate(
        self, chunks: Sequence[Rows], count: int, random: torch.Generator | None = None
    ) -> str | None:
        """Write the gradient of a step's `count` rows; return what is not finite, if anything is."""
        for index, rows in enumerate(chunks):
            inputs = self.inputs
            if isinstance(rows, slice):
                chunk = self._chunk(self.rows, whole=True)
            else:
                chunk = self._chunk(rows.size(0), whole=False)
                torch.index_select(inputs, 0, rows, out=chunk.inputs)
                torch.index_select(self.expected, 0, rows, out=chunk.expected)
                inputs = chunk.inputs
            if random is not None:
                chunk.inputs.copy_(self.data.augment(inputs, random))
            carry_out(chunk.program(count, add=index > 0))
            if isinstance(rows, slice):
                self.outputs = chunk.outputs
            else:
                self.outputs.index_copy_(0, rows, chunk.outputs)
            for numbers in chunk.watched:
                if not np.vdot(numbers, numbers) < self.bound and (culprit := self._find(chunk, rows)):
                    return culprit
        return None

    def _find(self, chunk: Chunk, rows: Rows) -> str | None:
        """Return what is not finite now that some rows have been differentiated."""
        losses = self.task.loss(chunk.outputs, self.data.scaled["train"][rows])
        if not bool(losses.isfinite().all()):
            return "the loss"
        for name, gradient in self.flat.views(self.gradients).items():
            if not bool(gradient.isfinite().all()):
                return f"the gradient of {name}"
        return None

    def _chunk(self, rows: int, whole: bool) -> Chunk:
        """Return what differentiates a number of rows, of which an epoch has two or three; see `Chunk`."""
        key = rows, whole
        if key not in self.chunks:
            layers, augmented = Pass(self.layers, rows, self.matmul), self.data.augmentation is not None
            watched = self._watched(layers)
            self.chunks[key] = Chunk(layers, self.task, self.inputs, self.expected, watched, whole, augmented)
        return self.chunks[key]

    def _watched(self, layers: Pass) -> tuple[Numbers, ...]:
        return numbers_to_watch(layers, self.gradients)

    def _clip(self, measure: bool) -> None:
        """Measure and limit the gradient, as torch.nn.utils.clip_grad_value_ and clip_grad_norm_ do."""
        if measure:
            torch.linalg.vector_norm(self.gradients, dim=0, keepdim=True, out=self.norm)
            self.measured = True
        if self.clip_value is not None:
            self.gradients.clamp_(-self.clip_value, self.clip_value)
        if self.clip_norm is not None:
            norm = torch.linalg.vector_norm(self.gradients, dim=0, keepdim=True)
            self.gradients.mul_(torch.clamp(self.clip_norm / (norm + 1e-6), max=1.0))

    def collect(self) -> dict[str, float]:
        """See `Engine.collect`; scores are computed once for all rows, which costs a step nothing."""
        self.settle()
        seen, scaled, targets = self.seen, self.data.scaled["train"], self.data.targets["train"]
        outputs = self.outputs
        if sum(map(self._count, seen)) < self.rows:
            rows = self._seen()
            outputs, scaled, targets = outputs[rows], scaled[rows], targets[rows]
        self.seen = []
        with self.untracked:
            return self.data.scores(self.task.loss(outputs, scaled), outputs, targets)

    def _seen(self) -> Rows:
        """Return the rows since the last collect."""
        rows = [rows for rows in self.seen if not isinstance(rows, slice)]
        return torch.cat(rows) if rows else slice(None)

    def gradient_norm(self) -> float:
        """See `Engine.gradient_norm`."""
        return float(self.norm)

    def optimizer_state(self) -> dict[str, Tensor]:
        """See `Engine.optimizer_state`."""
        return {name: part.clone() for name, part in self._slots()} if self.update.begun else {}

    def load_optimizer_state(self, state: dict[str, Tensor]) -> None:
        """See `Engine.load_optimizer_state`."""
        self.update.begun = bool(state)
        for name, part in self._slots():
            if state:
                part.copy_(state[name])
            else:
                part.zero_()

    def _slots(self) -> Iterator[tuple[str, Tensor]]:
        """Yield `<parameter>/<slot>`, as autograd names it, and the tensor where it lies."""
        for slot, (values,) in self.update.slots.items():
            if values.dim():
                yield from ((f"{name}/{slot}", part[0]) for name, part in self.flat.views(values).items())
            else:  # one number for all
                yield from ((f"{name}/{slot}", values) for name in self.flat.shapes)

    def epoch_state(self) -> dict[str, Tensor]:
        """See `Engine.epoch_state`."""
        state = {"gradient_norm": self.norm[0].clone()} if self.measured else {}
        if self.seen:
            rows = self._seen()
            state["outputs"] = self.outputs[rows].clone(memory_format=torch.contiguous_format)
            state["losses"] = self.task.loss(state["outputs"], self.data.scaled["train"][rows])
            if not isinstance(rows, slice):
                state["rows"] = rows
        return state

    def load_epoch_state(self, state: dict[str, Tensor]) -> None:
        """See `Engine.load_epoch_state`."""
        state = {name: value.to(self.device, copy=True) for name, value in state.items()}
        self.measured = "gradient_norm" in state
        self.norm.copy_(state.get("gradient_norm", torch.zeros(())))
        self.seen = []
        if "outputs" in state:
            rows = state.get("rows", slice(None))
            with self.untracked:
                self.outputs[rows] = state["outputs"]
            self.seen = [rows]


def layers_of(networks: Sequence[nn.Sequential], flat: Flat, together: bool = False) -> list[Layer]:
    """Return the layers of networks whose parameters lie in a flat buffer.

    Args:
        networks: the layers' modules, of one network or of several that are alike.
        flat: where their parameters lie.
        together: give every shape an axis of networks; else there is only one.
    """
    weights, gradients = flat.views(flat.values), flat.views(flat.gradients)
    found: list[Layer] = []

    def pair(name: str) -> tuple[Tensor, Tensor]:
        both = weights[name], gradients[name]
        if weights[name].dim() == 2:  # a bias, as a column
            both = both[0][..., None], both[1][..., None]
        return both if together else (both[0][0], both[1][0])

    for index, modules in enumerate(zip(*networks, strict=True)):
        module = modules[0]
        if isinstance(module, nn.Linear):
            weight, weight_gradient = pair(f"layers.{index}.weight")
            name = f"layers.{index}.bias"
            bias, bias_gradient = pair(name) if name in weights else (None, None)
            found.append(Layer(weight, bias, weight_gradient, bias_gradient))
        elif isinstance(module, Dropout):
            found[-1] = replace(found[-1], dropout=modules)
        else:
            found[-1] = replace(found[-1], activation=ACTIVATIONS[type(module)])
    return found


def bound_of(scaling: nn.Module, inputs: Tensor, rows: int) -> float:
    """Return how large the sum of squares s of units and deltas may be: s · (s + inputs + ones) < SAFE."""
    others = largest_square(scaling, inputs) * rows + rows
    return 2 * SAFE / (others + math.hypot(others, 2 * math.sqrt(SAFE)))


def largest_square(scaling: nn.Module, inputs: Tensor) -> float:
    """Return a bound for the sum of squares of a row, once scaled; augmented rows are not beyond it."""
    lowest, highest = torch.aminmax(inputs)
    corners = torch.stack((lowest, highest, torch.zeros_like(lowest)))[:, None].expand(-1, inputs.shape[1])
    with torch.no_grad():
        return float(
            scaling(corners.to(next(iter(scaling.buffers()), corners))).double().square().amax(0).sum()
        )
