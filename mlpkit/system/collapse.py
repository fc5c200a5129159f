"""Notices that steps take many times as long as they did, since threads wait for cores that others have.

Three things must come together, in two looks at a time: a step takes SLOWER times as long as in the run's
best look; it takes COSTLIER times the processor time, which is what waiting awake costs; and fewer cores
are free than the run has threads. A slow disk and a stopped process take no processor time, and on a quiet
machine all cores are free, whatever else is slow.
"""

import math
from time import perf_counter, process_time

from mlpkit.system.free_cores import Load, whole

LOOK = 0.25  # seconds
SLOWER = 2.5
COSTLIER = 1.4
LOOKS = 2  # that must agree


class CollapseWatch:
    """Counts the steps of a run, and looks at them a few times in a second."""

    def __init__(self, threads: int) -> None:
        """Begin to watch; with one thread there is nothing to watch for.

        Args:
            threads: that take the steps.
        """
        self.threads, self.steps, self.agreed = threads, 0, 0
        self.best = self.cheapest = math.inf  # seconds of a step: of the clock, and of processors
        self.load: Load | None = None  # while steps are slow
        self.began = self.computed = 0.0
        self.until = 0.0 if threads > 1 else math.inf

    def after_step(self) -> int | None:
        """Count a step; return the number of threads to go on with, where that is smaller, else None."""
        self.steps += 1
        return None if perf_counter() < self.until else self._look()

    def _look(self) -> int | None:
        now, computed = perf_counter(), process_time()
        seconds, cost = (now - self.began) / self.steps, (computed - self.computed) / self.steps
        is_first, self.steps = not self.until, 0
        self.began, self.computed, self.until = now, computed, now + LOOK
        if is_first:  # before it came what runs but once
            return None
        self.best, self.cheapest = min(self.best, seconds), min(self.cheapest, cost)
        if seconds < SLOWER * self.best or cost < COSTLIER * self.cheapest:
            self.load, self.agreed = None, 0
            return None
        if self.load is None:  # what others use is known from here on
            self.load = Load()
            return None
        free = whole(self.load.free())
        self.agreed = self.agreed + 1 if free < self.threads else 0
        if self.agreed < LOOKS:
            return None
        self.threads, self.agreed, self.load = free, 0, None
        self.until = self.until if free > 1 else math.inf
        return free


def watch_threads(wanted: int | str, uses_threads: bool) -> CollapseWatch:
    """Return what watches the threads of a run; a number that the user gave is not watched.

    Args:
        wanted: trainer.threads.
        uses_threads: whether steps run on torch's threads, whose number can be changed.
    """
    import torch

    return CollapseWatch(torch.get_num_threads() if wanted == "auto" and uses_threads else 1)
