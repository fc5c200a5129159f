"""What `mlpkit watch` shows of a run or a sweep, as lines of text."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rich.text import Text

from mlpkit.config.metric import higher_is_better
from mlpkit.config.problems import plural
from mlpkit.folders.followed_run import FollowedRun
from mlpkit.folders.listed_run import RUNNING, STATUSES, UNFINISHED, ListedRun
from mlpkit.folders.metrics_file import OF_LAYER
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_name import run_name
from mlpkit.system.console import number, printable
from mlpkit.system.terminal_plot import Line, draw_lines, sparkline

COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "red")
MOST_LAYERS = 8  # whose norms are shown
MOST_CURVES = len(COLOURS)  # of a sweep
MOST_ROWS = 40  # of a sweep's table where there is no terminal
_SPLITS = {"train": COLOURS[0], "val": COLOURS[1]}
_STATES = {UNFINISHED: "killed; mlpkit resume goes on"}


@dataclass(frozen=True)
class Screen:
    """What can be shown: `width` and `height` in characters, and whether in braille and colours.

    Attributes:
        height: None where there is no end.
    """

    width: int
    height: int | None
    braille: bool


def view_run(run: FollowedRun, about: ListedRun, screen: Screen) -> list[Text]:
    """Return the view of one run."""
    lines = [
        _title(printable(f"{about.dataset} {about.model}"), _state(about), run),
        _best_so_far(run, about),
    ]
    names = list(dict.fromkeys(name for split, name in run.scores if split in _SPLITS))
    shown = [name for name in ("loss", run.monitored[1]) if name in names]
    plots = list(dict.fromkeys(shown)) or ["loss"]
    below = _numbers(run, screen)
    beside = screen.width >= 100 and len(plots) == 2
    room = 24 if screen.height is None else screen.height - len(lines) - len(below) - 1
    height = max(4, min(16, room if beside else room // len(plots)))
    width = (screen.width - 2) // 2 if beside else screen.width
    drawn = [draw_lines(name, _curves(run, name), width, height, screen.braille) for name in plots]
    if beside:
        lines += [_padded(left, width + 2).append_text(right) for left, right in zip(*drawn, strict=True)]
    else:
        lines += [line for plot in drawn for line in plot]
    return [*lines, *below]


def view_sweep(
    path: Path,
    listed: Sequence[ListedRun],
    followed: Mapping[Path, FollowedRun],
    waiting: int,
    screen: Screen,
) -> list[Text]:
    """Return the view of a sweep: the leading runs first, those with a curve drawn in their colour.

    Args:
        path: the sweep folder.
        listed: its runs.
        followed: those whose metrics are read, by their folders; must hold the running ones.
        waiting: number of runs that have no folder yet.
        screen: where it is shown.
    """
    counts = Counter(run.status for run in listed)
    said = [f"{count} {status}" for status in STATUSES if (count := counts[status])] + (
        [f"{waiting} waiting"] if waiting else []
    )
    heading = Text(printable(f"{path}  "), style="bold").append(
        f"{plural(len(listed) + waiting, 'run')}: {', '.join(said)}"
    )
    ranked = ranked_runs(listed, followed)
    leading = [run for run in ranked if run.path in followed][:MOST_CURVES]
    marks = {
        run.path: ("━" if screen.braille else letter, colour)
        for run, letter, colour in zip(leading, "ABCDEF", COLOURS, strict=False)
    }
    room = None if screen.height is None else screen.height - 2
    height = 12 if room is None else max(4, min(14, room // 2))
    rows = MOST_ROWS if room is None else max(1, room - height - 1)
    table = [
        _row(run, followed.get(run.path), marks.get(run.path, (" ", "")), screen.width)
        for run in ranked[:rows]
    ]
    if len(ranked) > rows:
        table[-1:] = [Text(f"… and {len(ranked) - rows + 1} more", style="dim")]
    if not leading:
        return [heading, *table]
    key = followed[leading[0].path].monitored
    lines = [_line(*marks[run.path], followed[run.path], key) for run in leading]
    title = f"{key[0]} {key[1]} of the leading runs"
    return [heading, *draw_lines(title, lines, screen.width, height, screen.braille, names=False), *table]


def ranked_runs(listed: Sequence[ListedRun], followed: Mapping[Path, FollowedRun]) -> list[ListedRun]:
    """Return runs with the best first; those without a score come last."""

    def order(run: ListedRun) -> tuple[bool, float, str]:
        value = _best(followed.get(run.path), run)
        sign = 1 if _lower(run, followed.get(run.path)) else -1
        return value is None, sign * value[0] if value else 0.0, run.path.name

    return sorted(listed, key=order)


@cache
def name_of(path: Path) -> str:
    """Return the name of a sweep's run, by what varies; read once."""
    return printable(run_name(RunFolder(path))) or path.name


def _line(name: str, colour: str, run: FollowedRun, key: tuple[str, str]) -> Line:
    curve = run.scores.get(key)
    return Line(name, colour, curve.epochs if curve else (), curve.values if curve else ())


def _curves(run: FollowedRun, name: str) -> list[Line]:
    return [
        _line(split, colour, run, (split, name))
        for split, colour in _SPLITS.items()
        if (split, name) in run.scores
    ]


def _title(name: str, state: str, run: FollowedRun) -> Text:
    total = f"/{run.total:,}" if run.total else ""
    text = Text(name, style="bold").append(f"  {state}  epoch {run.epoch:,}{total}")
    if run.speed:
        text.append(f"  {run.speed:,.0f} epochs/s" if run.speed >= 10 else f"  {run.speed:.3g} epochs/s")
    if state == RUNNING and run.seconds_left is not None:
        text.append(f"  {_duration(run.seconds_left)} left")
    return text


def _best_so_far(run: FollowedRun, about: ListedRun) -> Text:
    found = _best(run, about)
    if found is None:
        return Text("no score yet", style="dim")
    split, score = (about.score.split, about.score.name) if about.score else run.monitored
    curve = run.scores.get((split, score))
    now = f"; now {number(curve.values[-1])}" if curve else ""
    epoch = f" at epoch {found[1]:,}" if found[1] else ""
    return Text(printable(f"best {split} {score} {number(found[0])}{epoch}{now}"))


def _best(run: FollowedRun | None, about: ListedRun) -> tuple[float, int] | None:
    """Return the best monitored value and its epoch; of a finished run the summary's, without the epoch."""
    seen = run.best(not _lower(about, run)) if run else None
    if about.score is None:
        return seen
    is_same = seen is not None and seen[0] == about.score.value
    return about.score.value, seen[1] if seen and is_same else 0


def _lower(about: ListedRun, run: FollowedRun | None) -> bool:
    if about.score is not None:
        return not about.score.higher_is_better
    return run is not None and not higher_is_better(run.monitored[1])


def _numbers(run: FollowedRun, screen: Screen) -> list[Text]:
    """Return a line for the lr and for each norm of a gradient: its newest value and how it went."""
    by_layer = [name for name in run.extra if name.startswith(OF_LAYER)][:MOST_LAYERS]
    names = [name for name in ("lr", "grad_norm", *by_layer) if name in run.extra]
    shown = {
        name: f"grad {name.removeprefix(OF_LAYER)}" if name.startswith(OF_LAYER) else name for name in names
    }
    widest = max(map(len, shown.values()), default=0)
    found = []
    for name in names:
        values = run.extra[name].values
        text = Text(f"{printable(shown[name]):<{widest}}  {values[-1]:<10.4g} ")
        bars = sparkline(values, max(1, min(60, screen.width - widest - 14)), not screen.braille)
        found.append(text.append(bars, style=COLOURS[2]))
    return found


def _state(about: ListedRun) -> str:
    return _STATES.get(about.status, about.status)


def _row(run: ListedRun, followed: FollowedRun | None, mark: tuple[str, str], width: int) -> Text:
    best = _best(followed, run)
    value = f"{number(best[0]):>10}" if best else f"{'':>10}"
    epoch = followed.epoch if followed else run.epochs
    done = f"{epoch:,}" if epoch is not None else ""
    ending = f"  {run.status:<13} {done:>9} {value}"
    room = max(8, width - len(ending) - 2)
    name = name_of(run.path)
    name = name if len(name) <= room else f"{name[: room - 1]}…"
    cells = Text(f"{name:<{min(room, 48)}}{ending}", style="" if mark[1] else "dim")
    return Text(f"{mark[0]} ", style=mark[1]).append_text(cells)


def _padded(text: Text, width: int) -> Text:
    return text.append(" " * max(0, width - len(text.plain)))


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
