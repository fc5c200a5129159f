"""What a person sees of a sweep: how many runs have ended, and how far the running ones are."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mlpkit.system.console import is_terminal, say

if TYPE_CHECKING:
    from mlpkit.sweep.groups import Group
    from mlpkit.training.trainer import Trainer

REFRESHES = 5  # a second
LINE_SECONDS = 10.0  # between two lines where there is no terminal


class SweepDisplay:
    """Shows a sweep, as a bar on a terminal or as some lines elsewhere."""

    def __init__(self, console: Console, jobs: int, done: int) -> None:
        """Start with so many runs that were done before."""
        self._console, self._jobs, self._done, self._failed = console, jobs, done, 0
        self._now, self._shown = "", time.monotonic()
        self._progress: Progress | None = None

    def begin(self, groups: Sequence["Group"]) -> None:
        """Say what is going to be trained."""
        self._begin(describe(self._jobs, self._done, groups))

    def begin_apart(self, jobs: int, most: int) -> None:
        """Say that jobs are going to be trained in processes of their own, so many at a time."""
        parts = [f"{jobs} in processes of their own, {most} at a time"] if jobs else []
        self._begin(_opening(self._jobs, self._done, parts))

    def show_running(self, jobs: int) -> None:
        """Say how many jobs are running, now and then."""
        self._now = f"{jobs} running"
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
            self._progress = Progress(
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
        """Say that a group begins."""
        self._size = len(group.numbers)
        self._now = f"{self._size} together" if group.together else f"run {group.numbers[0]}"
        self._refresh()

    def on_step(self, trainer: "Trainer") -> None:
        """Say how far the group is, now and then."""
        wait = LINE_SECONDS if self._progress is None else 1 / REFRESHES
        if time.monotonic() - self._shown < wait:
            return
        progress, runs = trainer.progress, len(trainer.recorders)
        share = progress.batch / trainer.steps_per_epoch
        self._now = f"{runs} together, epoch {progress.epoch}/{trainer.epochs}"
        ahead = runs * (progress.epoch + share) / trainer.epochs
        if self._progress is None:
            say(self._console, f"{self._done}/{self._jobs} runs; {self._now}")
        self._refresh(ahead)

    def note(self, line: str) -> None:
        """Say what the user should know and that stops nothing."""
        say(self._console, line)

    def ended(self, failed: bool) -> None:
        """Count a run that has ended."""
        self._done += not failed
        self._failed += failed
        if time.monotonic() - self._shown > 1 / REFRESHES:
            self._refresh()

    def stop(self) -> None:
        """Leave the bar as it is."""
        if self._progress is not None:
            if self._done + self._failed == self._jobs:
                self._now = ""
            self._refresh()
            self._progress.stop()

    def _refresh(self, ahead: float = 0.0) -> None:
        self._shown = time.monotonic()
        if self._progress is not None:
            failed = f", {self._failed} failed" if self._failed else ""
            self._progress.update(
                self._task,
                completed=self._done + self._failed + ahead,
                done=f"{self._done}{failed}",
                now=self._now,
                refresh=True,
            )


def describe(jobs: int, done: int, groups: Sequence["Group"]) -> str:
    """Return the line that says how many runs there are and how they go together."""
    together = [len(group.numbers) for group in groups if group.together]
    alone = sum(not group.together for group in groups)
    parts = []
    if together:
        sizes = " + ".join(map(str, together)) if len(together) <= 8 else f"{sum(together)}"
        parts.append(
            f"{sizes} trained together" + (f" in {len(together)} groups" if len(together) > 8 else "")
        )
    if alone:
        parts.append(f"{alone} one after another")
    return _opening(jobs, done, parts)


def _opening(jobs: int, done: int, parts: Sequence[str]) -> str:
    before = f" ({done} done before)" if done else ""
    return (
        f"sweep of {jobs} run{'s' if jobs != 1 else ''}{before}: {', '.join(parts) or 'nothing left to do'}"
    )
