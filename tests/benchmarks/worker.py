"""One peer in its own process: `python worker.py MODULE OVERRIDE…`.

It sets up and warms up, which compiles where the peer compiles, and says "ready". For every line that it then
reads it trains two portions, and answers a line of JSON about the second: count, seconds, loss, and whether
other programs computed meanwhile. In between it waits for input, so that only one peer computes at a time.
"""

import importlib
import json
import os
import sys
import time

from mlpkit.system.free_cores import Load
from mlpkit.system.platform import usable_cores

DISTURBING = 0.2  # cores that others use


def main() -> None:
    """Serve one peer until its input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    module, *overrides = sys.argv[1:]
    try:
        train = importlib.import_module(f"peers.{module}").prepare(tuple(overrides))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mlpkit"):  # which every peer takes its data from
            raise
        print(f"no package {error.name}", file=answers)
        return
    train()
    print("ready", file=answers)
    for _ in sys.stdin:
        train()  # while the others were asked, the system may have taken memory that lay idle, and the caches
        load, started = Load(), time.perf_counter()
        count, loss = train()
        seconds = time.perf_counter() - started
        disturbed = load.free() < len(usable_cores()) - DISTURBING
        answer = {"count": count, "seconds": seconds, "loss": loss, "disturbed": disturbed}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
