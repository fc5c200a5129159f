"""Too little memory, said in one line."""

import os
import re
import resource
import sys

from mlpkit.errors import MlpkitError

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
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY or limit >= PLENTY or "torch" in sys.modules:
        return
    number = os.fork()
    if number == 0:
        _try_to_load()
    _, status = os.waitpid(number, 0)
    if status:
        raise MlpkitError(f"memory: a limit of {limit // 1024} kB (ulimit -v) is too low for torch; raise it")


def _try_to_load() -> None:
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        import torch

        import mlpkit.training.start  # noqa: F401

        torch.ones(64, 64) @ torch.ones(64, 64)
        bytearray(MARGIN)
    except BaseException:  # such as a SystemError where memory runs out within an import
        os._exit(1)
    os._exit(0)
