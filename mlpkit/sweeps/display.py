"""Shows the progress of a sweep: how many runs are done, and how far the running ones are."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

from mlpkit.config.problems import plural
from mlpkit.system.console import is_terminal, say
from mlpkit.system.progress_bar import ProgressBar

if TYPE_CHECKING:
    from mlpkit.sweeps.groups import Group
    from mlpkit.training.trainer import Trainer

REFRESHES = 5  # per second
LINE_SECONDS = 10.0  # between two lines when there is no terminal


class SweepDisplay:
    """Shows a progress bar on a terminal, and a line now and then elsewhere."""

    def __init__(self, console: Console, jobs: int, done: int) -> None:
        """Start the display.

        Args:
            console: where to print.
            jobs: number of runs in the sweep.
            done: number of runs that are already done.
        """
        self._console, self._jobs, self._done, self._failed = console, jobs, done, 0
        self._now, self._shown = "", time.monotonic()
        self._ahead = 0.0  # what the running group has trained, in runs
        self._progress: ProgressBar | None = None

    def begin(self, groups: Sequence["Group"]) -> None:
        """Print how the remaining runs are grouped, and show the bar."""
        self._begin(opening_line(self._jobs, self._done, groups))

    def begin_jobs(self, sizes: Sequence[int], places: int | None) -> None:
        """Print into how many jobs the remaining runs are cut, and show the bar.

        Args:
            sizes: number of runs of each job.
            places: number of jobs at a time; None if it is not known.
        """
        parts = []
        if sizes:
            few, many = min(sizes), max(sizes)
            runs = f"up to {plural(many, 'run')}" if few < many else plural(many, "run")
            parts.append(f"{plural(len(sizes), 'job')} of {runs}")
        if sizes and places is not None:
            parts.append(f"{min(places, len(sizes))} at a time")
        self._begin(_join_opening(self._jobs, self._done, parts))

    def show_running(self, jobs: int) -> None:
        """Update the number of running jobs; shown at most every 0.2 s (bar) or 10 s (lines)."""
        self._now = f"{plural(jobs, 'job')} running"
        wait = LINE_SECONDS if self._progress is None else 1 / REFRESHES
        if time.monotonic() - self._shown < wait:
            return
        if self._progress is None:
            say(self._console, f"{self._done}/{self._jobs} runs; {self._now}")
        self._refresh()

    def _begin(self, line: str) -> None:
        say(self._console, line)
        self._show_bar()

    def _show_bar(self) -> None:
        if is_terminal(self._console) and not self._console.is_dumb_terminal:
            self._progress = ProgressBar(
                TextColumn("{task.fields[done]}/{task.total:.0f} runs"),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[now]}"),
                TimeElapsedColumn(),
                console=self._console,
                auto_refresh=False,
                expand=True,
            )
            self._task = self._progress.add_task("", total=self._jobs, now="", done=self._done)
            self._progress.start()
        self._refresh()

    def next_group(self, group: "Group") -> None:
        """Show which group starts training."""
        self._size = len(group.numbers)
        self._ahead = 0.0
        self._now = f"{self._size} together" if group.together else f"run {group.numbers[0]}"
        self._refresh()

    def on_step(self, trainer: "Trainer") -> None:
        """Update the epoch of the running group; shown at most every 0.2 s (bar) or 10 s (lines)."""
        wait = LINE_SECONDS if self._progress is None else 1 / REFRESHES
        if time.monotonic() - self._shown < wait:
            return
        progress, runs = trainer.progress, len(trainer.recorders)
        share = progress.batch / trainer.steps_per_epoch
        self._now = f"{runs} together, epoch {progress.epoch}/{trainer.epochs}"
        self._ahead = runs * (progress.epoch + share) / max(1, trainer.epochs)
        if self._progress is None:
            say(self._console, f"{self._done}/{self._jobs} runs; {self._now}")
        self._refresh()

    def note(self, line: str) -> None:
        """Print a warning or note."""
        say(self._console, line)

    def on_end(self, failed: bool) -> None:
        """Count a finished or failed run."""
        self._ahead = max(0.0, self._ahead - 1)
        self._done += not failed
        self._failed += failed
        if time.monotonic() - self._shown > 1 / REFRESHES:
            self._refresh()

    def stop(self) -> None:
        """Stop refreshing; the bar stays on the screen, as far as it came."""
        if self._progress is not None:
            if self._done + self._failed == self._jobs:
                self._now = ""
            self._refresh()
            self._progress.stop()

    def _refresh(self) -> None:
        self._shown = time.monotonic()
        if self._progress is not None:
            failed = f", {self._failed} failed" if self._failed else ""
            self._progress.update(
                self._task,
                completed=self._done + self._failed + self._ahead,
                done=f"{self._done}{failed}",
                now=self._now,
                refresh=True,
            )


class BatchDisplay(SweepDisplay):
    """The display of a batch of a search, without a first line."""

    def _begin(self, line: str) -> None:
        self._show_bar()


def opening_line(jobs: int, done: int, groups: Sequence["Group"]) -> str:
    """Return the first line: the number of runs and how they are grouped."""
    together = [len(group.numbers) for group in groups if group.together]
    alone = sum(not group.together for group in groups)
    parts = []
    if together:
        sizes = " + ".join(map(str, together)) if len(together) <= 8 else f"{sum(together)}"
        parts.append(
            f"{sizes} trained together" + (f" in {len(together)} groups" if len(together) > 8 else "")
        )
    if alone and jobs > 1:
        parts.append(f"{alone} alone" if alone == 1 else f"{alone} one after another")
    return _join_opening(jobs, done, parts)


def _join_opening(jobs: int, done: int, parts: Sequence[str]) -> str:
    before = f" ({done} done before)" if done else ""
    if not parts and done < jobs:  # all others failed before they could be grouped
        return f"sweep of {plural(jobs, 'run')}{before}"
    return f"sweep of {plural(jobs, 'run')}{before}: {', '.join(parts) or 'nothing left to do'}"
