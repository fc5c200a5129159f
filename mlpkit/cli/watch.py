"""mlpkit watch."""

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpkit.errors import DataError, RunInterruptedError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from mlpkit.analysis.watch_view import Screen
    from mlpkit.folders.followed_run import FollowedRun
    from mlpkit.folders.listed_run import ListedRun

EXAMPLE = "mlpkit watch"
SECONDS = 1.0  # between two looks
PIPE_WIDTH = 100  # characters where there is no terminal


def watch(
    run: Annotated[
        str | None,
        typer.Argument(
            help="Run folder, sweep or folder of runs (the newest); left out, the newest.",
            metavar="RUN_OR_SWEEP",
            show_default=False,
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print the view and exit, as in a pipe.")] = False,
) -> None:
    """Show the curves of a run or a sweep that another process trains, from its files; Ctrl-C leaves."""
    from mlpkit.analysis.named_run import newest_of
    from mlpkit.folders.find_run import find_run
    from mlpkit.folders.sweep_folder import is_sweep
    from mlpkit.system.console import is_terminal, make_console, note

    path, reason = newest_of(run, begun=True)
    if reason:
        note(f"{reason}: {path}")
    watched = _Sweep(path) if is_sweep(path) else _Run(find_run(path).path)
    console = make_console()
    if once or not is_terminal(console) or console.is_dumb_terminal or _show_live(console, watched):
        _print(console, watched)


class _Run:
    """One run, followed."""

    def __init__(self, path: Path) -> None:
        from mlpkit.folders.followed_run import FollowedRun
        from mlpkit.folders.metrics_file import keeps_none
        from mlpkit.folders.run_folder import RunFolder

        listed = _listed(path)
        if keeps_none(RunFolder(path)):
            raise DataError(f"{path}: run.files=minimal keeps no curves; mlpkit inspect shows its scores")
        if not listed:
            raise DataError(
                f"{path}: not a run folder (its config.yaml is not a file that mlpkit has written)"
            )
        self.path, self._run, self._about = path, FollowedRun(path), listed[0]

    @property
    def has_ended(self) -> bool:
        """Whether no more is to come, as far as the files tell."""
        from mlpkit.folders.listed_run import ENDED

        return self._about.status in ENDED

    def update(self) -> None:
        """Read what was appended."""
        self._about = next(iter(_listed(self.path)), self._about)
        self._run.update()

    def view(self, console: "Console") -> "list[Text]":
        """Return the lines to show."""
        from mlpkit.analysis.watch_view import view_run

        return view_run(self._run, self._about, _screen(console))


class _Sweep:
    """A sweep, of which the running and the leading runs are followed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._followed: dict[Path, FollowedRun] = {}
        self._listed: list[ListedRun] = []
        self._without: list[Text] = []  # why there are no curves
        self.update()

    @property
    def has_ended(self) -> bool:
        """Whether no more is to come: nobody trains the sweep or one of its runs."""
        from mlpkit.folders.listed_run import RUNNING
        from mlpkit.folders.sweep_folder import SweepFolder
        from mlpkit.system.lock import is_held

        is_running = any(run.status == RUNNING for run in self._listed)
        return not (is_running or is_held(SweepFolder(self.path).lock))

    def update(self) -> None:
        """Read what was appended, and follow the runs that run or lead now."""
        from rich.text import Text

        from mlpkit.analysis.watch_view import MOST_CURVES, ranked_runs
        from mlpkit.folders.followed_run import FollowedRun
        from mlpkit.folders.listed_run import RUNNING
        from mlpkit.folders.metrics_file import keeps_none
        from mlpkit.folders.run_folder import RunFolder

        self._listed = _listed(self.path) or self._listed
        running = [run for run in self._listed if run.status == RUNNING]
        leading = ranked_runs(self._listed, self._followed)[:MOST_CURVES]
        shown = {run.path for run in (*running, *leading)}
        wanted = {path for path in shown if not keeps_none(RunFolder(path))}
        without = Text("no curves: run.files=minimal keeps none", style="dim")
        self._without = [without] if shown and not wanted else []
        for path in self._followed.keys() & wanted:
            self._followed[path].update()
        self._followed = {path: self._followed.get(path) or FollowedRun(path) for path in wanted}

    def view(self, console: "Console") -> "list[Text]":
        """Return the lines to show."""
        from mlpkit.analysis.watch_view import view_sweep

        waiting = max(0, _jobs(self.path) - len(self._listed))
        heading, *lines = view_sweep(self.path, self._listed, self._followed, waiting, _screen(console))
        return [heading, *self._without, *lines]


def _show_live(console: "Console", watched: _Run | _Sweep) -> bool:
    """Show the view until the training ends; return False if Ctrl-C came first.

    Raises:
        RunInterruptedError: another stop signal came.
    """
    from rich.live import Live
    from rich.text import Text

    from mlpkit.training.stop import stop_on_signals

    def joined() -> Text:
        return Text("\n", no_wrap=True, overflow="crop").join(watched.view(console))

    try:
        with stop_on_signals() as stop, Live(console=console, screen=True, auto_refresh=False) as live:
            stop.at_once = True  # nothing is written that could be left half done
            live.update(joined(), refresh=True)
            while not watched.has_ended:
                time.sleep(SECONDS)
                watched.update()
                live.update(joined(), refresh=True)
    except RunInterruptedError as error:
        if error.signal_number != signal.SIGINT:
            raise
        return False
    return True


def _print(console: "Console", watched: _Run | _Sweep) -> None:
    for line in watched.view(console):
        line.rstrip()
        console.print(line, no_wrap=True, crop=False, overflow="ignore")


def _screen(console: "Console") -> "Screen":
    from mlpkit.analysis.watch_view import Screen
    from mlpkit.system.console import is_terminal

    if not is_terminal(console):
        return Screen(PIPE_WIDTH, None, braille=False)
    braille = console.color_system is not None and not console.options.ascii_only
    return Screen(console.width, console.height, braille)


def _listed(path: Path) -> "list[ListedRun]":
    """Return the runs at a path, without those that are just being written."""
    from mlpkit.folders.listed_run import ListedRun
    from mlpkit.folders.listing import list_runs

    try:
        return [run for run in list_runs([path], lambda line: None) if isinstance(run, ListedRun)]
    except DataError:  # it was removed meanwhile
        return []


def _jobs(path: Path) -> int:
    """Return the number of runs of a sweep, from its ledger; 0 if that cannot be read now."""
    import sqlite3

    from mlpkit.folders.sweep_folder import SweepFolder

    try:
        ledger = SweepFolder(path).ledger.resolve().as_uri()
        connection = sqlite3.connect(f"{ledger}?mode=ro", uri=True, timeout=0.2)
        try:
            return int(connection.execute("SELECT count(*) FROM jobs").fetchone()[0])
        finally:
            connection.close()
    except (sqlite3.Error, TypeError, ValueError):
        return 0
