"""Step operations: a list of calls on fixed tensors, built once and run at every step.

All decisions are made while the list is built. For small networks, deciding again at each step would take as
long as the arithmetic.
"""

from collections.abc import Callable

import torch

Operations = list[Callable[[], object]]


def run_operations(operations: Operations) -> None:
    """Call the operations in order; if one fails, reset the precision of matrix products."""
    try:
        for operation in operations:
            operation()
    except BaseException:
        torch.set_float32_matmul_precision("highest")
        raise
