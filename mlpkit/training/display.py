"""Shows the progress of one run: a bar on a terminal, some lines elsewhere."""

import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from mlpkit.system.console import is_terminal, number, say
from mlpkit.system.progress_bar import ProgressBar
from mlpkit.training.records import EpochReport

LINES = 20  # about so many epochs are printed as lines
LINE_SECONDS = 10.0  # the longest time between two lines
REFRESHES = 5  # per second


class TrainingDisplay:
    """Shows a run's epochs, as a bar or as lines."""

    def __init__(
        self,
        console: Console,
        style: str,
        epochs: int,
        monitored: str,
        score: str,
        past: EpochReport | None = None,
    ) -> None:
        """Start the display.

        Args:
            console: where to print.
            style: auto, bar, lines or none.
            epochs: number of epochs.
            monitored: the monitored split, whose score is shown.
            score: name of the monitored score.
            past: the last epoch before a resumed run was stopped.
        """
        if style == "auto":
            style = "bar" if is_terminal(console) else "lines"
        if style == "bar" and console.is_dumb_terminal:
            style = "lines"
        self._console, self._style, self._epochs = console, style, epochs
        self._monitored, self._score = monitored, score
        self._every = max(1, epochs // LINES)
        self._shown, self._epochs_done = -1.0, 0
        self._rows, self._seconds, self._speed_text = 0, 0.0, ""  # of the last report shown
        if past is not None:
            self._epochs_done, self._rows, self._seconds = past.epoch, past.rows, past.seconds
        self._pending: EpochReport | None = None  # not shown yet
        self._progress: ProgressBar | None = None
        if style == "bar":
            self._progress = ProgressBar(
                TextColumn("epoch {task.fields[done]}/{task.total:.0f}"),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[scores]}"),
                TimeRemainingColumn(compact=True),
                console=console,
                auto_refresh=False,  # a refresh thread would compete with training for the interpreter
                expand=True,
            )
            self._task = self._progress.add_task("", total=epochs, scores="", done=self._epochs_done)
            self._progress.start()

    def epoch(self, report: EpochReport) -> str | None:
        """Show an epoch; return its line if the epoch is one of those to be logged."""
        line = None
        late = report.seconds - self._seconds > LINE_SECONDS and self._progress is None
        if late or report.epoch % self._every == 0 or report.epoch in (1, self._epochs):
            line = self._line(report)
            if self._style == "lines":
                say(self._console, line)
        self._pending, self._epochs_done = report, report.epoch
        self.on_step(0.0)
        return line

    def on_step(self, share: float) -> None:
        """Move the bar to a fraction (0 to 1) of the running epoch, at most 5 times a second."""
        now = time.monotonic()
        if self._progress is None or now - self._shown < 1 / REFRESHES:
            return
        self._shown = now
        if self._pending is not None:
            self._show(self._pending)
        self._progress.update(self._task, completed=self._epochs_done + share, refresh=True)

    def stop(self, report: EpochReport | None) -> None:
        """Stop the bar at the last epoch."""
        if self._progress is not None:
            if report is not None:
                self._show(report)
            self._progress.refresh()
            self._progress.stop()
            self._progress = None

    def _show(self, report: EpochReport) -> None:
        if self._progress is not None:
            self._pending = None
            done, scores = report.epoch, self._brief(report)
            self._progress.update(self._task, completed=done, done=done, scores=scores)

    def _brief(self, report: EpochReport) -> str:
        monitored = report.scores[self._monitored]
        name = {"accuracy": "acc"}.get(self._score, self._score)
        shown = f" {self._monitored} {name} {number(monitored[self._score])}"
        loss = report.scores["train"]["loss"]
        return f"loss {number(loss)}{shown} lr {report.lr:.2g} {self._speed(report)}"

    def _line(self, report: EpochReport) -> str:
        parts = [f"epoch {report.epoch:>{len(str(self._epochs))}}/{self._epochs}"]
        for split, scores in report.scores.items():
            parts.append(split + "".join(f" {name} {number(scores[name])}" for name in _main_scores(scores)))
        return "  ".join([*parts, f"lr {report.lr:.3g}", self._speed(report)])

    def _speed(self, report: EpochReport) -> str:
        """Return the rows per second since the last call, so that a slow start does not count later."""
        rows, seconds = report.rows - self._rows, report.seconds - self._seconds
        if rows > 0:
            self._speed_text = f"{_thousands(rows / max(seconds, 1e-9))}/s"
        self._rows, self._seconds = report.rows, report.seconds
        return self._speed_text


def _main_scores(scores: Mapping[str, float]) -> list[str]:
    return [name for name in ("loss", "accuracy", "r2") if name in scores]


def _thousands(value: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
