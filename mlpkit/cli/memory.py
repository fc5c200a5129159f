"""Too little memory, said in one line."""

import os
import re
import sys

from mlpkit.errors import MlpkitError
from mlpkit.system.platform import fails_in_a_fork, memory_limit

PLENTY = 8 << 30  # bytes: where that many are allowed, torch can be loaded
MARGIN = 200 << 20  # bytes that a small run takes besides: threads and their stacks, most of it

_SIGNS = re.compile(
    "not enough memory|out of memory|allocate memory|bad_alloc|failed to map segment|start new thread", re.I
)


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory, whichever library has raised it."""
    return isinstance(error, MemoryError) or _SIGNS.search(str(error)) is not None


def check_limit() -> None:
    """Refuse to load torch where the limit on this process (`ulimit -v`) is too low for it.

    Libraries that cannot be loaded whole end the process in many ways, some without a word: a forked process
    tries it first.

    Raises:
        MlpkitError: it is too low.
    """
    limit = memory_limit()
    if limit is None or limit >= PLENTY or "torch" in sys.modules:
        return
    if fails_in_a_fork(_load):
        raise MlpkitError(f"memory: a limit of {limit // 1024} kB (ulimit -v) is too low for torch; raise it")


def _load() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    import torch

    import mlpkit.training.start  # noqa: F401

    torch.ones(64, 64) @ torch.ones(64, 64)
    bytearray(MARGIN)
