"""Computes rows in blocks of one size, so that a row's result does not depend on the rows beside it.

Libraries of matrix products choose other code for other numbers of rows, whose sums round in another order.
So the last bits of a prediction depend on how many others are computed with it. With one number of rows the
code is always the same. Torch computes functions such as tanh in groups of values, and what is left of an
array in another way; of a full block nothing is left.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

BLOCK = 64  # rows
WIDE = 16  # columns; narrower products were seen to differ, on a processor with AVX-512

Result = TypeVar("Result")


def in_blocks(function: Callable[[Tensor], Result], inputs: Tensor) -> Iterator[Result]:
    """Yield the results of the blocks of some rows (rows, features); zeros fill up the last block."""
    for block in torch.split(inputs, BLOCK):
        missing = BLOCK - block.shape[0]
        yield function(torch.cat([block, block.new_zeros(missing, block.shape[1])]) if missing else block)


class WideProducts(TorchFunctionMode):
    """Computes a linear layer of few outputs as one of more.

    The sums of a narrow product depend on the row's place.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch; to a linear layer's weights, add rows of zeros."""
        if func is functional.linear and not kwargs and len(args) == 3 and len(args[1]) < WIDE:
            inputs, weight, bias = args
            width = len(weight)
            weight = torch.cat([weight, weight.new_zeros(WIDE - width, weight.shape[1])])
            bias = None if bias is None else torch.cat([bias, bias.new_zeros(WIDE - width)])
            return func(inputs, weight, bias)[..., :width]
        return func(*args, **(kwargs or {}))
