"""Detects that training has slowed down because other programs use the cores that its threads need.

Steps are measured every LOOK seconds. The number of threads is lowered if three conditions hold in LOOKS
measurements in a row: a step takes SLOWER times as long as in the run's best measurement; it takes COSTLIER
times the processor time, which spinning threads use up; and fewer cores are free than the run has threads.
A slow disk or a stopped process uses no processor time, and on an idle machine all cores are free.
"""

import math
from time import perf_counter, process_time

from mlpkit.system.free_cores import Load, whole

LOOK = 0.25  # seconds between measurements
SLOWER = 2.5
COSTLIER = 1.4
LOOKS = 2  # measurements that must agree


class CollapseWatch:
    """Counts the steps of a run and measures their speed."""

    def __init__(self, threads: int) -> None:
        """Start measuring, unless there is only one thread.

        Args:
            threads: number of threads that training uses.
        """
        self.threads, self.steps, self.agreed = threads, 0, 0
        self.best = self.cheapest = math.inf  # least wall time and processor time of a step, in seconds
        self.load: Load | None = None  # set while steps are slow
        self.began = self.computed = 0.0
        self.until = 0.0 if threads > 1 else math.inf

    def after_step(self) -> int | None:
        """Count a step. Return a lower number of threads to continue with, or None to change nothing."""
        self.steps += 1
        return None if perf_counter() < self.until else self._look()

    def _look(self) -> int | None:
        now, computed = perf_counter(), process_time()
        seconds, cost = (now - self.began) / self.steps, (computed - self.computed) / self.steps
        is_first, self.steps = not self.until, 0
        self.began, self.computed, self.until = now, computed, now + LOOK
        if is_first:  # the first steps include one-time work
            return None
        self.best, self.cheapest = min(self.best, seconds), min(self.cheapest, cost)
        if seconds < SLOWER * self.best or cost < COSTLIER * self.cheapest:
            self.load, self.agreed = None, 0
            return None
        if self.load is None:  # measure other programs' load from here on
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
    """Return the watch of a run; it does nothing if the user has set a number of threads.

    Args:
        wanted: trainer.threads.
        uses_threads: whether steps use torch's thread pool, whose size can be changed.
    """
    import torch

    return CollapseWatch(torch.get_num_threads() if wanted == "auto" and uses_threads else 1)
