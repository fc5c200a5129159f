"""Training rows that are differentiated at once: their buffers, and the programs over them."""

from functools import partial

import numpy as np
from torch import Tensor

from mlpkit.engines.backpropagation import Pass
from mlpkit.program import Program
from mlpkit.tasks import Task

A_CALL = 8192  # numbers that can be looked at in the time that a call takes

Numbers = np.ndarray[tuple[int], np.dtype[np.float32] | np.dtype[np.float64]]


class Chunk:
    """A fixed number of rows on their way up and down. For one network there is no axis K.

    Attributes:
        layers: what takes them up and down.
        inputs: (K, rows, features), or (rows, features) that all networks read; of the whole split they are
            its own, unless augmentation changes them.
        expected: (K, rows, targets) likewise, what the mean of the outputs' distribution should be.
        outputs: (K, rows, targets), a view of those that the layers write.
        watched: what says, after a program, whether loss and gradients are finite.
    """

    def __init__(
        self,
        layers: Pass,
        task: Task,
        inputs: Tensor,
        expected: Tensor,
        watched: tuple[Numbers, ...],
        whole: bool,
        augmented: bool = False,
    ) -> None:
        """Make the buffers that are copied to.

        Args:
            layers: for so many rows.
            task: says what is differentiated.
            inputs: of the split.
            expected: likewise.
            watched: of the layers.
            whole: the rows are the split itself, of which nothing is copied but what augmentation changes.
            augmented: whether there is augmentation.
        """
        *networks, _, rows = layers.outputs.shape
        if not whole:
            expected = expected.new_empty(*networks, rows, expected.shape[-1])
        if not whole or augmented:
            inputs = inputs.new_empty(*networks, rows, inputs.shape[-1])
        self.layers, self.task, self.inputs, self.expected = layers, task, inputs, expected
        self.outputs, self.watched = layers.outputs.mT, watched
        self.up, self.down = layers.up(inputs), layers.down()  # the same for every step
        self.programs: dict[tuple[int, bool], Program] = {}

    def program(self, count: int, add: bool) -> Program:
        """Return what writes the gradient of these rows' share in a mean loss.

        Args:
            count: rows of the whole step, whose mean it is.
            add: to the gradient that is there, instead of writing over it.
        """
        if (count, add) not in self.programs:
            layers, task = self.layers, self.task
            # A number as a tensor: torch would make one of it at each step.
            scale = layers.delta.new_tensor(task.slope(self.expected.shape[-1]) / count)
            self.programs[count, add] = [
                *self.up,
                partial(task.residual, layers.outputs, self.expected.mT, layers.delta),
                partial(layers.delta.mul_, scale),
                *self.down,
                *layers.gradients(self.inputs, add),
            ]
        return self.programs[count, add]


def numbers_to_watch(layers: Pass, gradients: Tensor) -> tuple[Numbers, ...]:
    """Return numbers whose squares, where their sums are small, say that loss and gradients are finite.

    A gradient is a product of deltas and units, inputs or ones, so by Cauchy and Schwarz it is no larger
    than the root of the product of their sums of squares. Where that is more to look at than the
    gradients, with the outputs and their delta for the loss, it is those. NumPy's product takes half the
    time of torch's, and this one of NumPy's does not warn of what is large.
    """
    ends = layers.workspace[-2 * layers.outputs.numel() :]
    fewer = layers.workspace.numel() < gradients.numel() + ends.numel() + A_CALL
    looked_at = (layers.workspace,) if fewer else (gradients, ends)
    return tuple(part.numpy() for part in looked_at)
