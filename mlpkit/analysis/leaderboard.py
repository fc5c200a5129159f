"""The leaderboard of a comparison, printed as a table."""

import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from mlpkit.analysis.compare import LEAST, Comparison, Setting
from mlpkit.config.nested import shorten
from mlpkit.config.problems import plural, show
from mlpkit.folders.results import RunResult
from mlpkit.system.console import breaks_no_word, fits, is_terminal, number, plain_table, say

LONG = 8  # characters: a longer number was sampled by a search, not typed, and is shown rounded
DISPENSABLE = ("seconds", "95 % interval")
NAMED = 5  # at most this many runs without a score are named on a terminal; a pipe or file gets all


def print_leaderboard(console: Console, found: Comparison, settings: Sequence[Setting], unit: str) -> None:
    """Print settings as a table, followed by the meaning of its marks and the runs without a score.

    If a column for each key does not fit, all keys share one column that wraps; if it would break words, the
    columns of DISPENSABLE are left out.

    Args:
        console: the console to print on.
        found: the comparison.
        settings: the settings to show.
        unit: what the runs of a setting are called: seeds, folds or runs.
    """
    say(console, headline(found))
    console.print()
    values = [[show_setting(setting, key) for key in found.columns] for setting in settings]
    names = [shorten(key, found.columns) for key in found.columns]
    more = result_columns(found, settings, unit)
    table = _table(names, values, settings, more)
    if not fits(console, table):
        folded = [
            [" ".join(f"{name}={cell}" for name, cell in zip(names, cells, strict=True) if cell)]
            for cells in ([cell.replace(", ", ",") for cell in cells] for cells in values)
        ]
        for dispensable in ((), DISPENSABLE[:1], DISPENSABLE):
            kept = [place for place, title in enumerate(more[0]) if title not in dispensable]
            table = _table(["settings"], folded, settings, [[row[place] for place in kept] for row in more])
            table.columns[1].justify, table.columns[1].overflow = "left", "fold"
            for column in (table.columns[0], *table.columns[2:]):
                column.no_wrap = True
            if breaks_no_word(console, table, 1):
                break
    console.print(table)
    console.print()
    for text in [*legend(found, settings, unit), *unscored(found, NAMED if is_terminal(console) else None)]:
        say(console, text)
    say(console, f"best run of rank 1: {found.best_run.path}")


def show_setting(setting: Setting, key: str) -> str:
    """Return a setting's value of a key as typed on the command line; empty if it lacks the key."""
    value = setting.options.get(key, "")
    if isinstance(value, float) and len(repr(value)) > LONG:
        return f"{value:.4g}"
    return show(value)[1:-1] if isinstance(value, str) else show(value)


def headline(found: Comparison) -> str:
    """Return the line above the table: how many runs, and which score ranks them."""
    metric, count = found.metric, len(found.settings)
    runs = sum(len(setting.runs) + setting.missing for setting in found.settings)
    better = "higher" if metric.higher_is_better else "lower"
    return (
        f"{f'{found.title}: ' if found.title else ''}{plural(runs, 'run')}, {plural(count, 'setting')}: "
        f"{metric.split} {metric.score} at the best epoch ({better} is better)"
        f"{f'; {metric.reason}' if metric.reason else ''}"
    )


def _table(
    names: Sequence[str], values: Sequence[list[str]], settings: Sequence[Setting], more: Sequence[list[str]]
) -> Table:
    table = plain_table("rank", [*names, *more[0]])
    for setting, cells, others in zip(settings, values, more[1:], strict=True):
        table.add_row(show_rank(setting), *cells, *others)
    return table


def result_columns(found: Comparison, settings: Sequence[Setting], unit: str) -> list[list[str]]:
    """Return the titles of the columns after the settings, and each setting's cells; no empty column."""
    titles = [f"{found.metric.split} {found.metric.score}", "95 % interval", unit, "worse by", "seconds"]
    digits = decimals(settings)
    rows = [titles, *(_results(setting, digits) for setting in settings)]
    filled = [place for place in range(len(titles)) if any(row[place] for row in rows[1:])]
    return [[row[place] for place in filled] for row in rows]


def decimals(settings: Sequence[Setting]) -> int | None:
    """Return how many decimals show four digits of each mean; None if the means differ too much."""
    sizes = [abs(setting.mean) for setting in settings if setting.mean]
    if not sizes or min(sizes) < 1e-5 or max(sizes) >= 1e4:
        return None
    return max(4, 3 - math.floor(math.log10(min(sizes))))


def _results(setting: Setting, digits: int | None) -> list[str]:
    def show_score(value: float) -> str:
        return number(value) if digits is None else f"{value:.{digits}f}"

    def show_interval(ends: tuple[float, float] | None) -> str:
        return "" if ends is None else f"{show_score(ends[0])}–{show_score(ends[1])}"

    count = len(setting.runs)
    return [
        "" if setting.mean is None else show_score(setting.mean),
        show_interval(setting.interval),
        f"{count}/{count + setting.missing}" if setting.missing else str(count),
        f"{show_interval(setting.worse_by)} {_mark(setting)}".strip(),
        "" if setting.seconds is None else f"{setting.seconds:,.{2 if setting.seconds < 100 else 0}f}",
    ]


def show_rank(setting: Setting) -> str:
    """Return a setting's rank; a dash without a score."""
    return "–" if setting.rank is None else str(setting.rank)


def _mark(setting: Setting) -> str:
    if setting.rank in (None, 1):
        return ""
    return {True: "", False: "=", None: "?"}[setting.differs]


def _are_equal(setting: Setting) -> bool:
    return len(setting.scores) > 1 and len(set(setting.scores)) == 1


def legend(found: Comparison, settings: Sequence[Setting], unit: str) -> list[str]:
    """Return lines that explain the marks used for these settings."""
    marks = {_mark(setting) for setting in settings}
    texts = []
    if any(setting.worse_by for setting in settings):
        texts.append("worse by: than rank 1; all of these intervals are right with 95 % probability")
    if "=" in marks:
        texts.append("= not shown to differ from rank 1: the interval holds 0")
    if any(setting.folds for setting in settings):
        unit = "folds"
        texts.append("folds share training rows: intervals by the variance of Nadeau and Bengio (2003)")
    if any(setting.interval for setting in settings) and any(_are_equal(setting) for setting in settings):
        texts.append(f"no 95 % interval: all {unit} have the same score")
    if "?" in marks:
        texts.append(
            f"? not tested: needs {LEAST} {unit} in common with rank 1, which do not all differ by the same"
        )
    if setting := next((each for each in settings if each.missing and each.runs), None):
        some, all_of_them = len(setting.runs), len(setting.runs) + setting.missing
        texts.append(f"{some}/{all_of_them}: {some} of {all_of_them} have a score; the mean is over these")
    if more := len(found.settings) - len(settings):
        noun = "setting" if more == 1 else "settings"
        texts.append(f"{more:,} more {noun}: mlpkit compare without --top shows all")
    return texts


def unscored(found: Comparison, most: int | None) -> list[str]:
    """Return a line for each status of runs without a score, with their folders."""
    by_status: dict[str, list[RunResult]] = {}
    without = f"without {found.metric.split} {found.metric.score}"
    for run in found.unscored:
        status = run.status if run.status not in ("done", "stopped early") else without
        by_status.setdefault(status, []).append(run)
    texts = []
    for status, runs in by_status.items():
        names = ", ".join(str(run.path) for run in runs[:most])
        more = f", and {len(runs) - most} more" if most is not None and len(runs) > most else ""
        texts.append(f"{status} ({len(runs)}): {names}{more}")
    return texts
