"""Gradients of K networks of linear layers, by hand; the derivation is in `mlpkit.engines.backpropagation`.

Each batch size has its own buffers and list of operations, built once, so that a step decides nothing.
"""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mlpkit.data.augment import Draws, mix
from mlpkit.engines.backpropagation import Pass
from mlpkit.engines.batches import Rows
from mlpkit.engines.device_data import DeviceData
from mlpkit.engines.manual_layers import input_layers_of, layers_of
from mlpkit.engines.matmul import Matmul
from mlpkit.engines.mean_outputs import average_all, average_members
from mlpkit.engines.operations import Operations, run_operations
from mlpkit.engines.parameters import Flat
from mlpkit.models.torch_layers import set_dropout_share
from mlpkit.models.torch_network import Network

CALL_ELEMENTS = 8192  # elements scanned in one call's overhead
SAFE_SQUARE = 1e40  # far below the square of the largest float32: no gradient or squared error overflows

Numbers = np.ndarray[tuple[int], np.dtype[np.float32] | np.dtype[np.float64]]
Randoms = Sequence[Draws] | None


class ManualGradients:
    """Computes gradients by hand; see `mlpkit.engines.gradients.Gradients`."""

    name = "stacked"  # as config files call it

    def __init__(
        self,
        networks: Sequence[Network],
        parameters: Flat,
        gradients: Tensor,
        data: DeviceData,
        matmul: Matmul,
        running: Flat,
        counters: Flat,
        batch_size: int,
    ) -> None:
        """Prepare the layers; buffers are allocated at the first batch of each size.

        Args:
            networks: the runs' networks.
            parameters: the networks' parameters.
            gradients: (K · P), the buffer that gradients are written to.
            data: the runs' data.
            matmul: the precision of matrix products.
            running: the running means and variances of batch norms.
            counters: the `num_batches_tracked` of batch norms.
            batch_size: the largest number of rows per batch.
        """
        self.layers = layers_of(networks, parameters, gradients, running, counters)
        self.before = input_layers_of(networks[0], parameters, gradients)
        self.gradients, self.data, self.matmul = gradients, data, matmul
        self.members = networks[0].members
        output_gradient = data.loss.by_hand()
        assert output_gradient is not None, "see choose_engine"
        self.output_gradient, self.expected = output_gradient, data.expected()
        self.bound = safe_bound(data, batch_size)
        self.chunks: dict[int | None, Chunk] = {}  # by number of rows; None for the whole split
        self.chunks_of: dict[int, dict[int | None, Chunk]] = {}  # of shares, by rows in the whole batch
        self.passes: dict[int, Pass] = {}  # for evaluation, by number of rows
        self.forwards: dict[tuple[str, int], Operations] = {}  # for evaluation, by (split, first row)
        # In inference mode each operation starts a tenth of a microsecond sooner.
        self.context = torch.inference_mode()

    def fill(self, rows: Rows, count: int, add: bool, randoms: Randoms) -> Tensor:
        """See `Gradients.fill`."""
        if isinstance(rows, slice):
            chunk = self.chunks.get(None) or self._chunk(None)
            inputs = chunk.all_inputs
        else:
            size = rows.shape[-1]
            chunk = self.chunks.get(size) or self._chunk(size)
            inputs = chunk.inputs
            self.data.pick(self.data.splits["train"].inputs, rows, inputs)
            self.data.pick(self.expected, rows, chunk.expected)
            if chunk.weights is not None:
                self.data.pick_weights(rows, chunk.weights)
        if randoms is not None:
            into = chunk.inputs if self.data.runs > 1 else chunk.inputs[None]
            for own, augmented in zip(into, self.data.augment(inputs, randoms), strict=True):
                own.copy_(augmented)
            if self.data.mixes:
                chunk.mix(*self.data.mixing(into.shape[1], randoms))
        self.last = chunk
        run_operations(chunk.operations(count, add))
        outputs = chunk.layers.outputs
        return average_members(self.data, outputs.mT).mT if self.members else outputs

    def table_has_changed(self) -> None:
        """See `Gradients.table_has_changed`."""
        self.expected = self.data.expected()

    def take_share(self, batch: int, first: int) -> None:
        """See `Gradients.take_share`; the operations of a batch have the places of its share."""
        set_dropout_share(self.data.networks, batch, first)
        self.chunks = self.chunks_of.setdefault(batch, {})

    def is_suspicious(self) -> bool:
        """See `Gradients.is_suspicious`."""
        return not all(np.vdot(numbers, numbers) < self.bound for numbers in self.last.checked)

    def outputs(self, split: str, start: int, stop: int) -> Tensor:
        """See `Gradients.outputs`."""
        size = (stop - start) * self.data.views
        if size not in self.passes:
            self.passes[size] = self.new_pass(size, self.matmul.for_scores, scores=True)
        layers = self.passes[size]
        if (split, start) in self.forwards:
            run_operations(self.forwards[split, start])
        else:
            forward = layers.forward(self.data.inputs_of(split, start, stop))
            if self.data.is_cached(split):
                self.forwards[split, start] = forward
            run_operations(forward)
        return average_all(self.data, layers.outputs.mT)

    def new_pass(self, examples: int, matmul: Matmul, scores: bool = False) -> Pass:
        """Return the buffers of both passes; see `Pass`."""
        features = self.data.splits["train"].inputs.shape[1]
        return Pass(self.layers, examples, matmul, scores, self.before, features)

    def _chunk(self, size: int | None) -> "Chunk":
        """Make the buffers and operations for a number of rows, of which an epoch has two or three."""
        chunk = Chunk(self, size)
        self.chunks[size] = chunk
        return chunk


class Chunk:
    """The buffers and operations that compute the gradients of a fixed number of training rows.

    Attributes:
        all_expected: the expected outputs of the whole split, likewise, if they are mixed; else unset.
        all_inputs: the inputs of the whole split, (rows, features) or (K, rows, features); else unset.
        inputs: (K, n, features), filled at each step, or the whole split's; (n, features) where K = 1.
        expected: (K, n, width), the expected outputs of these rows; likewise.
        weights: (K, n), how much these rows count, likewise; None if all count the same.
        layers: the forward and backward pass, with the outputs of the last step.
        checked: the arrays that `is_suspicious` checks after a step.
    """

    def __init__(self, gradients: ManualGradients, size: int | None) -> None:
        """Allocate the buffers.

        Args:
            gradients: their layers and data.
            size: the number of rows; None for the whole split, which is copied only if it is augmented.
        """
        data, self.output_gradient = gradients.data, gradients.output_gradient
        self.members = gradients.members
        networks = () if data.runs == 1 else (data.runs,)
        rows = data.rows if size is None else size
        features = data.splits["train"].inputs.shape[1]
        if size is None:
            self.all_inputs = data.all_rows("train", "inputs")
            self.expected = data.all_rows("train", "expected", gradients.expected)
            if data.runs > 1 and data.shares_inputs and data.augmentation is None:
                # One row of memory per feature, the layout of activations.
                self.all_inputs = self.all_inputs.t().contiguous().t()
            self.inputs, self.weights = self.all_inputs, data.weights_of("train", slice(None))
            if data.mixes:
                self.all_expected = self.expected
                self.expected = gradients.expected.new_empty(*networks, rows, data.width)
        else:
            self.expected = gradients.expected.new_empty(*networks, rows, data.width)
            is_weighted = data.splits["train"].weights is not None
            self.weights = gradients.expected.new_empty(*networks, rows) if is_weighted else None
        if size is not None or data.augmentation is not None:
            self.inputs = gradients.expected.new_empty(*networks, rows, features)
        self.layers = gradients.new_pass(rows, gradients.matmul)
        on_host = gradients.gradients.device.type == "cpu"
        self.checked = values_to_check(self.layers, gradients.gradients) if on_host else ()
        # The operations of both passes are the same at every step.
        self.forward, self.backward = self.layers.forward(self.inputs), self.layers.backward()
        self._operations: dict[tuple[int, bool], Operations] = {}

    def mix(self, partners: Tensor, shares: Tensor) -> None:
        """Mix each row's inputs and expected outputs with its partner's; see `Augmentation.mixing`.

        The gradient by hand is linear in the expected outputs, so that this is the mean of both gradients.
        """
        if hasattr(self, "all_expected"):
            self.expected.copy_(self.all_expected)
        for values in (self.inputs, self.expected):
            for run, own in enumerate(values.view(len(partners), *values.shape[-2:])):
                own.copy_(mix(own, partners[run], shares[run]))

    def operations(self, count: int, add: bool) -> Operations:
        """Return the operations that compute the gradients of the loss, summed over these rows / `count`.

        The loss of members that share weights is the mean of theirs.

        Args:
            count: the number of rows in the step, over which the loss is averaged.
            add: whether to add to the current gradients instead of overwriting them.
        """
        if (count, add) not in self._operations:
            layers, output_gradient, y = self.layers, self.output_gradient, self.expected.mT
            if self.members:
                y = y.unsqueeze(-3).expand_as(layers.outputs)
            rows = count * (self.members or 1)
            # A tensor, since torch would convert a float to one at each step.
            scale = layers.output_gradients.new_tensor(output_gradient.factor(self.expected.shape[-1]) / rows)
            self._operations[count, add] = [
                *self.forward,
                partial(output_gradient.write, layers.outputs, y, layers.output_gradients),
                partial(layers.output_gradients.mul_, scale),
                *self._weigh(),
                *self.backward,
                *layers.weight_gradients(self.inputs, add),
            ]
        return self._operations[count, add]

    def _weigh(self) -> Operations:
        """Return the operation that multiplies each row's gradient by its weight, if rows have weights."""
        gradients, weights = self.layers.output_gradients, self.weights
        if weights is None:
            return []
        weights = weights.unsqueeze(-2)
        return [partial(gradients.mul_, weights.unsqueeze(-2) if self.members else weights)]


def values_to_check(layers: Pass, gradients: Tensor) -> tuple[Numbers, ...]:
    """Return arrays to check: if their sums of squares are small, the loss and all gradients are finite.

    A weight's gradient is a scalar product of δ with activations, inputs or ones. By the Cauchy–Schwarz
    inequality it is at most the root of the product of their sums of squares, so activations and δ are
    enough. If they have more elements than the gradients, outputs and δ_L, those are checked instead. So they
    are with batch norms and with layers before the first linear one, whose own gradients have other factors.
    They are NumPy arrays, since np.vdot takes half the time of torch's product and does not warn on overflow.
    """
    last = layers.workspace[-2 * layers.outputs.numel() :]
    has_others = bool(layers.before) or any(hidden.norm is not None for hidden in layers.hidden)
    fewer = not has_others and layers.workspace.numel() < gradients.numel() + last.numel() + CALL_ELEMENTS
    checked = (layers.workspace,) if fewer else (gradients, last)
    return tuple(part.numpy() for part in checked)


def safe_bound(data: DeviceData, rows: int) -> float:
    """Return the bound for s, the sum of squares of all activations and δ: the solution of

    s · (s + squares of the inputs + number of rows) = SAFE_SQUARE.
    """
    others = largest_square(data) * rows + rows
    return 2 * SAFE_SQUARE / (others + math.hypot(others, 2 * math.sqrt(SAFE_SQUARE)))


def largest_square(data: DeviceData) -> float:
    """Return an upper bound for the sum of squares of a scaled training row, augmented or not."""
    corners = data.input_range()
    with torch.no_grad():
        scaled = (network.scaling(corners) for network in data.networks) if data.augmentation else (corners,)
        return max(float(each.double().square().amax(0).sum()) for each in scaled)
