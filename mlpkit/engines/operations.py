"""The operations of a step: a list of calls on fixed tensors, made once and run at every step.

Everything is decided while the list is made. A step only makes the calls: for small networks, deciding again
at each step would take as long as the arithmetic.
"""

from collections.abc import Callable

import torch

Operations = list[Callable[[], object]]


def run_operations(operations: Operations) -> None:
    """Call one operation after another; reset the precision of products if one fails."""
    try:
        for operation in operations:
            operation()
    except BaseException:
        torch.set_float32_matmul_precision("highest")
        raise
