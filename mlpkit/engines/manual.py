"""Gradients of K networks of linear layers, by hand; the derivation is in `mlpkit.engines.backpropagation`.

Where nothing changes from step to step but the numbers, nothing is decided in a step: a batch of a size has
its buffers and its list of operations, made once.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from mlpkit.engines.activations import in_place_activation
from mlpkit.engines.backpropagation import LinearLayer, Pass
from mlpkit.engines.batches import Rows
from mlpkit.engines.device_data import DeviceData
from mlpkit.engines.matmul import Matmul
from mlpkit.engines.operations import Operations, run_operations
from mlpkit.engines.parameters import Flat
from mlpkit.models.torch_layers import Dropout, name_of
from mlpkit.models.torch_network import Network

A_CALL = 8192  # elements scanned in one call's overhead
SAFE_SQUARE = 1e40  # far below the square of the largest float32, and of a squared error that overflows

Numbers = np.ndarray[tuple[int], np.dtype[np.float32] | np.dtype[np.float64]]
Randoms = Sequence[torch.Generator] | None


class ManualGradients:
    """Writes gradients that are derived by hand; see `mlpkit.engines.gradients.Gradients`."""

    name = "stacked"  # as config files call it

    def __init__(
        self,
        networks: Sequence[Network],
        parameters: Flat,
        gradients: Tensor,
        data: DeviceData,
        batch_size: int,
        matmul: Matmul,
    ) -> None:
        """Take what is read and written.

        Args:
            networks: of the runs.
            parameters: theirs.
            gradients: (K · P), where gradients are written.
            data: of the runs.
            batch_size: rows that are differentiated at once, at most.
            matmul: how products are computed.
        """
        self.layers = layers_of(networks, parameters, gradients)
        self.gradients, self.data, self.matmul = gradients, data, matmul
        output_gradient = data.loss.by_hand()
        assert output_gradient is not None, "see choose_engine"
        self.output_gradient, self.expected = output_gradient, data.expected()
        self.bound = safe_bound(data, batch_size)
        self.chunks: dict[int | None, Chunk] = {}  # by their rows; None for the split itself
        self.passes: dict[int, Pass] = {}  # for scores, by their rows
        self.forwards: dict[tuple[str, int], Operations] = {}  # by the split and its first row
        # Operations that no gradient is ever asked of begin a tenth of a microsecond sooner, each of them.
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
        if randoms is not None:
            into = chunk.inputs if self.data.runs > 1 else chunk.inputs[None]
            for own, changed in zip(into, self.data.augment(inputs, randoms), strict=True):
                own.copy_(changed)
        self.last = chunk
        run_operations(chunk.operations(count, add))
        return chunk.layers.outputs

    def is_suspicious(self) -> bool:
        """See `Gradients.is_suspicious`."""
        return not all(np.vdot(numbers, numbers) < self.bound for numbers in self.last.checked)

    def outputs(self, split: str, start: int, stop: int) -> Tensor:
        """See `Gradients.outputs`."""
        size = stop - start
        if size not in self.passes:
            self.passes[size] = Pass(self.layers, size, self.matmul.for_scores, scores=True)
        layers = self.passes[size]
        if (split, start) in self.forwards:
            run_operations(self.forwards[split, start])
        else:
            forward = layers.forward(self.data.inputs_of(split, start, stop))
            if self.data.is_cached(split):
                self.forwards[split, start] = forward
            run_operations(forward)
        return layers.outputs.mT

    def _chunk(self, size: int | None) -> "Chunk":
        """Return what differentiates a number of rows, of which an epoch has two or three; see `Chunk`."""
        chunk = Chunk(self, size)
        self.chunks[size] = chunk
        return chunk


class Chunk:
    """Training rows that are differentiated at once: their buffers, and the operations on them.

    Attributes:
        all_inputs: of the whole split, (rows, features) or (K, rows, features); else unused.
        inputs: (K, n, features) to be filled, or those of the whole split; (n, features) where K = 1.
        expected: (K, n, width) likewise: what the loss's gradient compares outputs with.
        layers: with the outputs of the last step, before its update.
        checked: what says, after a step, whether loss and gradients are finite.
    """

    def __init__(self, of: ManualGradients, size: int | None) -> None:
        """Make the buffers.

        Args:
            of: whose layers and data they are for.
            size: the number of rows; None for the whole split, of which nothing is copied but what
                augmentation changes.
        """
        data, self.output_gradient = of.data, of.output_gradient
        networks = () if data.runs == 1 else (data.runs,)
        rows = data.rows if size is None else size
        features = data.splits["train"].inputs.shape[1]
        if size is None:
            self.all_inputs = data.all_rows("train", "inputs")
            self.expected = data.all_rows("train", "expected", of.expected)
            if data.runs > 1 and data.shares_inputs and data.augmentation is None:
                # Rows next to each other, as in the units that are made of them.
                self.all_inputs = self.all_inputs.t().contiguous().t()
            self.inputs = self.all_inputs
        else:
            self.expected = of.expected.new_empty(*networks, rows, data.width)
        if size is not None or data.augmentation is not None:
            self.inputs = of.expected.new_empty(*networks, rows, features)
        self.layers = Pass(of.layers, rows, of.matmul)
        on_host = of.gradients.device.type == "cpu"
        self.checked = values_to_check(self.layers, of.gradients) if on_host else ()
        self.forward, self.backward = (
            self.layers.forward(self.inputs),
            self.layers.backward(),
        )  # the same for every step
        self._operations: dict[tuple[int, bool], Operations] = {}

    def operations(self, count: int, add: bool) -> Operations:
        """Return what writes the gradient of these rows' share in a mean loss.

        Args:
            count: rows of the whole step, whose mean it is.
            add: to the gradient that is there, instead of writing over it.
        """
        if (count, add) not in self._operations:
            layers, of_loss = self.layers, self.output_gradient
            # A number as a tensor: torch would make one of it at each step.
            scale = layers.output_gradients.new_tensor(of_loss.factor(self.expected.shape[-1]) / count)
            self._operations[count, add] = [
                *self.forward,
                partial(of_loss.write, layers.outputs, self.expected.mT, layers.output_gradients),
                partial(layers.output_gradients.mul_, scale),
                *self.backward,
                *layers.weight_gradients(self.inputs, add),
            ]
        return self._operations[count, add]


def layers_of(networks: Sequence[Network], parameters: Flat, gradients: Tensor) -> list[LinearLayer]:
    """Return the layers of networks whose parameters lie in a flat buffer."""
    weights, slopes = parameters.views(parameters.values), parameters.views(gradients)
    found: list[LinearLayer] = []
    for index, modules in enumerate(zip(*(network.layers for network in networks), strict=True)):
        module = modules[0]
        if isinstance(module, nn.Linear):
            weight, bias = f"layers.{index}.weight", f"layers.{index}.bias"
            columns = [of[bias][..., None] if bias in of else None for of in (weights, slopes)]
            widths = tuple(own.out_features for own in modules)
            found.append(LinearLayer(weights[weight], columns[0], slopes[weight], columns[1], widths=widths))
        elif isinstance(module, Dropout):
            found[-1] = replace(found[-1], dropout=modules)
        else:
            found[-1] = replace(found[-1], activation=in_place_activation(module))
    return found


def values_to_check(layers: Pass, gradients: Tensor) -> tuple[Numbers, ...]:
    """Return numbers whose squares, where their sums are small, say that loss and gradients are finite.

    A weight's gradient is a product of δ and activations, inputs or ones. By Cauchy and Schwarz it is no
    larger than the root of the product of their sums of squares, so it is enough to look at those. Where
    they are more numbers than the gradients and the outputs, it looks at these. NumPy's product takes half
    the time of torch's, and this one of NumPy's does not warn of large numbers.
    """
    ends = layers.workspace[-2 * layers.outputs.numel() :]
    fewer = layers.workspace.numel() < gradients.numel() + ends.numel() + A_CALL
    looked_at = (layers.workspace,) if fewer else (gradients, ends)
    return tuple(part.numpy() for part in looked_at)


def safe_bound(data: DeviceData, rows: int) -> float:
    """Return the largest safe sum of squares s of all activations and δ: s · (s + inputs + ones) < SAFE_SQUARE."""
    others = largest_square(data) * rows + rows
    return 2 * SAFE_SQUARE / (others + math.hypot(others, 2 * math.sqrt(SAFE_SQUARE)))


def largest_square(data: DeviceData) -> float:
    """Return a bound for the sum of squares of a scaled training row; augmented rows are not beyond it."""
    inputs = data.splits["train"].inputs
    corners = torch.stack((*torch.aminmax(inputs), inputs.new_zeros(())))[:, None].expand(-1, inputs.shape[1])
    with torch.no_grad():
        scaled = (network.scaling(corners) for network in data.networks) if data.augmentation else (corners,)
        return max(float(of.double().square().amax(0).sum()) for of in scaled)


def unsupported_layer(layers: nn.Sequential) -> str | None:
    """Return the name of a layer whose gradient is not derived here, or None."""
    known = (nn.Linear, Dropout)
    strange = (
        layer for layer in layers if not isinstance(layer, known) and in_place_activation(layer) is None
    )
    return next((name_of(layer) for layer in strange), None)
