"""Computes rows so that a row's result does not depend on the rows beside it.

Libraries of matrix products choose other code for other numbers of rows, whose sums round in another order.
So the last bits of a prediction depend on how many others are computed with it. With one number of rows the
code is always the same: each product is computed in blocks of `BLOCK` rows. Torch computes functions such as
tanh in groups of values, and what is left of an array in another way; of full blocks nothing is left.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from mlpkit.models.torch_inputs import PeriodicEmbedding
from mlpkit.models.torch_own import OwnModule

BLOCK = 64  # rows
WIDE = 16  # columns; narrower products were seen to differ, on a processor with AVX-512
MOST_VALUES = 1 << 16  # of a layer: torch divides them among two threads at most, that is after half a block
ALONE = 4  # times as many with one thread, which divides nothing; more leave the processor's caches

Result = TypeVar("Result")


def in_blocks(function: Callable[[Tensor], Result], inputs: Tensor, rows: int = BLOCK) -> Iterator[Result]:
    """Yield the results of some rows (rows, features), part by part; zeros fill up the last block.

    Args:
        function: is given full blocks.
        inputs: the rows.
        rows: the most rows of a part, full blocks.
    """
    for part in torch.split(inputs, rows):
        missing = -len(part) % BLOCK
        yield function(torch.cat([part, part.new_zeros(missing, part.shape[1])]) if missing else part)


def most_rows(widest: int) -> int:
    """Return the most rows of a part (full blocks) whose layers have at most so many columns."""
    values = MOST_VALUES * (ALONE if torch.get_num_threads() == 1 else 1)
    return max(1, values // max(widest, 1) // BLOCK) * BLOCK


def widest_layer(network: nn.Module, features: int) -> int:
    """Return the columns of a network's widest layer, its inputs included.

    A layer that computes products of its own, which `BlockProducts` does not know, counts as one for which
    `most_rows` is one block.
    """
    layers = list(network.modules())
    if any(isinstance(layer, OwnModule | PeriodicEmbedding) for layer in layers):
        return MOST_VALUES * ALONE
    return max(features, WIDE, *(layer.out_features for layer in layers if isinstance(layer, nn.Linear)))


class BlockProducts(TorchFunctionMode):
    """Computes a linear layer block by block, and one of few outputs as one of more.

    The sums of a narrow product depend on the row's place.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch; a linear layer is computed in blocks."""
        if func is functional.linear and not kwargs and len(args) == 3:
            return _linear(*args)
        return func(*args, **(kwargs or {}))


def _linear(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    width = len(weight)
    if width < WIDE:  # add rows of zeros
        weight = torch.cat([weight, weight.new_zeros(WIDE - width, weight.shape[1])])
        bias = None if bias is None else torch.cat([bias, bias.new_zeros(WIDE - width)])
    if inputs.dim() != 2 or len(inputs) <= BLOCK:
        return functional.linear(inputs, weight, bias)[..., :width].contiguous()
    blocks, across = inputs.reshape(-1, BLOCK, inputs.shape[1]), weight.t()
    outputs = inputs.new_empty(len(blocks), BLOCK, len(weight))
    for rows, found in zip(blocks.unbind(), outputs.unbind(), strict=True):
        if bias is None:
            torch.mm(rows, across, out=found)
        else:
            torch.addmm(bias, rows, across, out=found)
    return outputs.flatten(0, 1)[:, :width].contiguous()
