"""Detects a lack of memory, so that it is reported in one line."""

import os
import re
import sys

from mlpkit.errors import MlpkitError
from mlpkit.system.platform import fails_in_a_fork, memory_limit

PLENTY = 8 << 30  # bytes; with at least this limit, torch can always be loaded
MARGIN = 200 << 20  # bytes that a small run needs besides torch, mostly for threads and their stacks

_SIGNS = re.compile(
    # "start new thread": there is no memory for its stack, or a limit on processes
    "not enough memory|out of memory|allocate memory|bad_alloc|failed to map segment|start new thread",
    re.I,
)


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error, of any library, means that there is not enough memory."""
    return isinstance(error, MemoryError) or _SIGNS.search(str(error)) is not None


def check_limit() -> None:
    """Check that the memory limit of this process (`ulimit -v`) is high enough to load torch.

    Below PLENTY, a forked process first tries to load torch: a library that cannot be loaded completely may
    end the process without a message.

    Raises:
        MlpkitError: the limit is too low.
    """
    limit = memory_limit()
    if limit is None or limit >= PLENTY or "torch" in sys.modules:
        return
    if fails_in_a_fork(_load):
        raise MlpkitError(f"memory: a limit of {limit // 1024} kB (ulimit -v) is too low for torch; raise it")


def _load() -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    import torch

    import mlpkit.training.start  # noqa: F401

    torch.ones(64, 64) @ torch.ones(64, 64)
    bytearray(MARGIN)
