"""Whether this process is one of several that train a run together, by the variables that torchrun sets."""

import os

STARTER = "MLPKIT_STARTER"  # the process id of the mlpkit that has started this one; unset under torchrun


def rank() -> int:
    """Return this process's number among all, from 0; 0 if it is alone."""
    return _number("RANK", 0) if size() > 1 else 0


def size() -> int:
    """Return the number of processes; 1 if no launcher has started this one."""
    given = all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))
    return _number("WORLD_SIZE", 1) if given else 1


def local_rank() -> int:
    """Return this process's number on its machine."""
    return _number("LOCAL_RANK", rank())


def local_size() -> int:
    """Return the number of processes on this machine."""
    return _number("LOCAL_WORLD_SIZE", size())


def variables(rank: int, size: int, port: int) -> dict[str, str]:
    """Return the variables for a process that this one starts on the same machine."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        STARTER: str(os.getpid()),
    }


def starter() -> int | None:
    """Return the process id of the mlpkit that has started this one; None if torchrun or a user has."""
    return _number(STARTER, 0) or None


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else default
