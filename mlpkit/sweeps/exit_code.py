"""Exit codes of processes in words."""

import signal


def describe_exit(code: int) -> str:
    """Return in words how a process ended that sent no result.

    Args:
        code: its exit code, or minus the number of the signal that killed it.
    """
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    memory = ", which the system sends where memory runs out" if name == "SIGKILL" else ""
    return f"killed by {name}{memory}"
