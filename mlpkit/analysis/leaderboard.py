"""The leaderboard of a comparison: a printed table, and csv, jsonl and markdown files."""

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from mlpkit.analysis.compare import TIED_ABOVE, Comparison, Setting
from mlpkit.analysis.keys import shorten
from mlpkit.config.problems import show
from mlpkit.runs.output_file import write_output
from mlpkit.runs.results import RunResult
from mlpkit.system.console import is_terminal, number, plain_table, printable, say
from mlpkit.system.plain_json import to_json

ENDINGS = (".csv", ".jsonl", ".md")
LONG = 8  # characters: a longer number was sampled by a search, not typed, and is shown rounded
NAMED = 5  # at most this many runs without a score are named on a terminal; a pipe or file gets all


def print_leaderboard(console: Console, found: Comparison, settings: Sequence[Setting], unit: str) -> None:
    """Print settings as a table, followed by the meaning of its marks and the runs without a score.

    If a column for each key does not fit, all keys share one column that wraps.

    Args:
        console: the console to print on.
        found: the comparison.
        settings: the settings to show.
        unit: what the runs of a setting are called: seeds or runs.
    """
    say(console, _headline(found))
    console.print()
    values = [[show_setting(setting, key) for key in found.columns] for setting in settings]
    names = [shorten(key, found.columns) for key in found.columns]
    table = _table(names, values, found, settings, unit)
    if Measurement.get(console, console.options.update_width(10_000), table).maximum > console.width:
        folded = [
            [" ".join(f"{name}={cell}" for name, cell in zip(names, cells, strict=True) if cell)]
            for cells in ([cell.replace(", ", ",") for cell in cells] for cells in values)
        ]
        table = _table(["settings"], folded, found, settings, unit)
        table.columns[1].justify, table.columns[1].overflow = "left", "fold"
        for column in (table.columns[0], *table.columns[2:]):
            column.no_wrap = True
    console.print(table)
    console.print()
    for text in [*_legend(found, settings, unit), *_unscored(found, NAMED if is_terminal(console) else None)]:
        say(console, text)
    say(console, f"best run of rank 1: {found.best_run.path}")


def write_leaderboard(path: Path, found: Comparison, settings: Sequence[Setting], unit: str) -> None:
    """Write settings in the format of the file's suffix; csv and jsonl have all digits and full keys.

    Raises:
        WriteError: the file cannot be written.
    """
    if path.suffix == ".md":
        text = _to_markdown(found, settings, unit)
    else:
        rows = [_row(setting, found) for setting in settings]
        text = _to_csv(rows) if path.suffix == ".csv" else "".join(f"{to_json(row)}\n" for row in rows)
    write_output(path, text.encode(errors="surrogateescape"))


def show_setting(setting: Setting, key: str) -> str:
    """Return a setting's value of a key as typed on the command line; empty if it lacks the key."""
    value = setting.options.get(key, "")
    if isinstance(value, float) and len(repr(value)) > LONG:
        return f"{value:.4g}"
    return show(value)[1:-1] if isinstance(value, str) else show(value)


def _headline(found: Comparison) -> str:
    metric, count = found.metric, len(found.settings)
    runs = sum(len(setting.runs) + setting.missing for setting in found.settings)
    better = "higher" if metric.higher_is_better else "lower"
    return (
        f"{runs:,} {'run' if runs == 1 else 'runs'}, {count:,} {'setting' if count == 1 else 'settings'}: "
        f"{metric.split} {metric.score} at the best epoch ({better} is better)"
        f"{f'; {metric.reason}' if metric.reason else ''}"
    )


def _table(
    names: Sequence[str],
    values: Sequence[list[str]],
    found: Comparison,
    settings: Sequence[Setting],
    unit: str,
) -> Table:
    table, digits = plain_table("rank", [*names, *_titles(found, unit)]), _digits(settings)
    for cells, setting in zip(values, settings, strict=True):
        row = [_rank(setting), *cells, *_results(setting, digits)]
        table.add_row(*row)
    return table


def _titles(found: Comparison, unit: str) -> list[str]:
    return [f"{found.metric.split} {found.metric.score}", "± 95 %", unit, "tied", "seconds"]


def _digits(settings: Sequence[Setting]) -> int | None:
    """Return how many decimals show four digits of each mean; None if the means differ too much."""
    sizes = [abs(setting.mean) for setting in settings if setting.mean]
    if not sizes or min(sizes) < 1e-5 or max(sizes) >= 1e4:
        return None
    return max(4, 3 - math.floor(math.log10(min(sizes))))


def _results(setting: Setting, digits: int | None) -> list[str]:
    def show_score(value: float | None) -> str:
        return "" if value is None else number(value) if digits is None else f"{value:.{digits}f}"

    count = len(setting.runs)
    return [
        show_score(setting.mean),
        show_score(setting.half_width),
        f"{count}/{count + setting.missing}" if setting.missing else str(count),
        _mark(setting),
        "" if setting.seconds is None else f"{setting.seconds:,.{2 if setting.seconds < 100 else 0}f}",
    ]


def _rank(setting: Setting) -> str:
    return "–" if setting.rank is None else str(setting.rank)


def _mark(setting: Setting) -> str:
    if setting.rank in (None, 1):
        return ""
    return {True: "=", False: "", None: "?"}[setting.tied]


def _legend(found: Comparison, settings: Sequence[Setting], unit: str) -> list[str]:
    """Return lines that explain the marks used for these settings."""
    marks = {_mark(setting) for setting in settings}
    texts = []
    if "=" in marks:
        test = f"paired t-test over shared {unit}, Holm-corrected, p > {TIED_ABOVE}"
        texts.append(f"= tied with the best: {test}")
    if "?" in marks:
        texts.append(
            f"? not tested: fewer than 2 {unit} in common with the best, or the same difference in each"
        )
    if setting := next((each for each in settings if each.missing and each.runs), None):
        some, all_of_them = len(setting.runs), len(setting.runs) + setting.missing
        texts.append(f"{some}/{all_of_them}: {some} of {all_of_them} have a score; the mean is over these")
    if more := len(found.settings) - len(settings):
        noun = "setting" if more == 1 else "settings"
        texts.append(f"{more:,} more {noun}: the same command without --top shows all")
    return texts


def _unscored(found: Comparison, most: int | None) -> list[str]:
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


def _row(setting: Setting, found: Comparison) -> dict[str, Any]:
    return {
        "rank": setting.rank,
        **{key: setting.options.get(key) for key in found.columns},
        f"{found.metric.split}.{found.metric.score}": setting.mean,
        "half_width": setting.half_width,
        "runs": len(setting.runs),
        "missing": setting.missing,
        "p_value": setting.p_value,
        "tied": setting.tied,
        "seconds": setting.seconds,
    }


def _to_csv(rows: Sequence[dict[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(rows[0])
    for row in rows:
        values = row.values()
        writer.writerow(json.dumps(value) if isinstance(value, list | bool) else value for value in values)
    return stream.getvalue()


def _to_markdown(found: Comparison, settings: Sequence[Setting], unit: str) -> str:
    titles = ["rank", *(shorten(key, found.columns) for key in found.columns), *_titles(found, unit)]
    digits, rows = _digits(settings), [["---:"] * len(titles)]
    for setting in settings:
        values = [show_setting(setting, key) for key in found.columns]
        rows.append([_rank(setting), *values, *_results(setting, digits)])
    table = [f"| {' | '.join(_escaped(cell) for cell in row)} |" for row in (titles, *rows)]
    below = [*_legend(found, settings, unit), *_unscored(found, None)]
    texts = [_headline(found), "", *table, "", *(f"- {printable(text)}" for text in below)]
    return "\n".join(texts).rstrip() + "\n"


def _escaped(cell: str) -> str:
    return printable(cell).replace("|", r"\|")
