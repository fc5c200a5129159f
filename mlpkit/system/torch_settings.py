"""Leaves torch's global settings as the caller of the Python API had them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mlpkit.system.device import CUBLAS


@contextmanager
def torch_settings_kept() -> Iterator[None]:
    """Restore the number of threads and the rule on deterministic operations after the block.

    mlpkit draws from generators of its own, and sets the precision of products only during a product.
    """
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    workspace = os.environ.get(CUBLAS)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if workspace is None:
            os.environ.pop(CUBLAS, None)
        if deterministic != torch.are_deterministic_algorithms_enabled():  # the call loads torch's compiler
            torch.use_deterministic_algorithms(deterministic)
