"""How much the fault tests try: everything with MLPKIT_FAULTS=full, else what fits into some seconds."""

import os

FULL = os.environ.get("MLPKIT_FAULTS") == "full"


def count(short: int, full: int) -> int:
    """Return the number that goes with what is asked for."""
    return full if FULL else short
