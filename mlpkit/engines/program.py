"""What is done at every step in the same way: a list of operations on fixed tensors, made once.

Which operation, on which part of which buffer, is decided while the list is made. A step only carries it out,
which small networks feel: to decide again takes as long as their sums.
"""

from collections.abc import Callable

import torch

Program = list[Callable[[], object]]


def carry_out(program: Program) -> None:
    """Do one operation after another; where one fails, products are at the highest level again."""
    try:
        for operation in program:
            operation()
    except BaseException:
        torch.set_float32_matmul_precision("highest")
        raise
