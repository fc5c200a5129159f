"""A comparison for people and for programs: a table, and csv, jsonl and markdown files."""

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

from mlpkit.analysis.compare import TIED_ABOVE, Comparison, Line, shorten
from mlpkit.config.problems import show
from mlpkit.runs.output_file import write_output
from mlpkit.runs.results import RunResult
from mlpkit.system.console import is_terminal, number, plain_table, printable, say
from mlpkit.system.plain_json import to_json

ENDINGS = (".csv", ".jsonl", ".md")
LONG = 8  # characters of a number that is drawn and not typed
NAMED = 5  # runs without a score that are named on a terminal; elsewhere all are


def print_leaderboard(console: Console, found: Comparison, lines: Sequence[Line], unit: str) -> None:
    """Print lines as a table, with what its marks mean below it, and the runs that have no score.

    Where the settings do not fit as columns, they stand in one that is folded.

    Args:
        console: where to.
        found: the comparison.
        lines: those of it that are shown.
        unit: what a line has many of: seeds or runs.
    """
    say(console, _headline(found))
    console.print()
    settings = [[show_setting(line, key) for key in found.columns] for line in lines]
    names = [shorten(key, found.columns) for key in found.columns]
    table = _table(names, settings, found, lines, unit)
    if Measurement.get(console, console.options.update_width(10_000), table).maximum > console.width:
        folded = [
            [" ".join(f"{name}={cell}" for name, cell in zip(names, cells, strict=True) if cell)]
            for cells in ([cell.replace(", ", ",") for cell in cells] for cells in settings)
        ]
        table = _table(["settings"], folded, found, lines, unit)
        table.columns[1].justify, table.columns[1].overflow = "left", "fold"
        for column in (table.columns[0], *table.columns[2:]):
            column.no_wrap = True
    console.print(table)
    console.print()
    for text in [*_legend(found, lines, unit), *_unscored(found, NAMED if is_terminal(console) else None)]:
        say(console, text)
    say(console, f"best run of rank 1: {found.best_run.path}")


def write_leaderboard(path: Path, found: Comparison, lines: Sequence[Line], unit: str) -> None:
    """Write lines in the format of the file's ending; csv and jsonl hold every digit and whole keys.

    Raises:
        WriteError: the file cannot be written.
    """
    if path.suffix == ".md":
        text = _to_markdown(found, lines, unit)
    else:
        rows = [_row(line, found) for line in lines]
        text = _to_csv(rows) if path.suffix == ".csv" else "".join(f"{to_json(row)}\n" for row in rows)
    write_output(path, text.encode(errors="surrogateescape"))


def show_setting(line: Line, key: str) -> str:
    """Return a line's value as one would set it; nothing for a key that it does not have."""
    value = line.settings.get(key, "")
    if isinstance(value, float) and len(repr(value)) > LONG:
        return f"{value:.4g}"
    return show(value)[1:-1] if isinstance(value, str) else show(value)


def _headline(found: Comparison) -> str:
    metric, lines = found.metric, len(found.lines)
    runs = sum(len(line.runs) + line.missing for line in found.lines)
    better = "higher" if metric.higher_is_better else "lower"
    return (
        f"{runs:,} {'run' if runs == 1 else 'runs'}, {lines:,} {'setting' if lines == 1 else 'settings'}: "
        f"{metric.split} {metric.score} at the best epoch ({better} is better)"
        f"{f'; {metric.reason}' if metric.reason else ''}"
    )


def _table(
    names: Sequence[str], settings: Sequence[list[str]], found: Comparison, lines: Sequence[Line], unit: str
) -> Table:
    table, digits = plain_table("rank", [*names, *_titles(found, unit)]), _digits(lines)
    for cells, line in zip(settings, lines, strict=True):
        row = [_rank(line), *cells, *_results(line, digits)]
        table.add_row(*row)
    return table


def _titles(found: Comparison, unit: str) -> list[str]:
    return [f"{found.metric.split} {found.metric.score}", "± 95 %", unit, "tied", "seconds"]


def _digits(lines: Sequence[Line]) -> int | None:
    """Return how many decimals show four digits of each mean; None where these are too far apart."""
    sizes = [abs(line.mean) for line in lines if line.mean]
    if not sizes or min(sizes) < 1e-5 or max(sizes) >= 1e4:
        return None
    return max(4, 3 - math.floor(math.log10(min(sizes))))


def _results(line: Line, digits: int | None) -> list[str]:
    def show_score(value: float | None) -> str:
        return "" if value is None else number(value) if digits is None else f"{value:.{digits}f}"

    count = len(line.runs)
    return [
        show_score(line.mean),
        show_score(line.half_width),
        f"{count}/{count + line.missing}" if line.missing else str(count),
        _mark(line),
        "" if line.seconds is None else f"{line.seconds:,.{2 if line.seconds < 100 else 0}f}",
    ]


def _rank(line: Line) -> str:
    return "–" if line.rank is None else str(line.rank)


def _mark(line: Line) -> str:
    if line.rank in (None, 1):
        return ""
    return {True: "=", False: "", None: "?"}[line.tied]


def _legend(found: Comparison, lines: Sequence[Line], unit: str) -> list[str]:
    """Return what the marks of these lines mean."""
    marks = {_mark(line) for line in lines}
    texts = []
    if "=" in marks:
        test = f"paired t-test over shared {unit}, Holm-corrected, p > {TIED_ABOVE}"
        texts.append(f"= tied with the best: {test}")
    if "?" in marks:
        texts.append(
            f"? not tested: fewer than 2 {unit} in common with the best, or the same difference in each"
        )
    if line := next((line for line in lines if line.missing and line.runs), None):
        some, all_of_them = len(line.runs), len(line.runs) + line.missing
        texts.append(f"{some}/{all_of_them}: {some} of {all_of_them} have a score; the mean is over these")
    if more := len(found.lines) - len(lines):
        settings = "setting" if more == 1 else "settings"
        texts.append(f"{more:,} more {settings}: mlpkit compare, without --top, shows all")
    return texts


def _unscored(found: Comparison, most: int | None) -> list[str]:
    """Return a line for each kind of runs without a score, with their folders."""
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


def _row(line: Line, found: Comparison) -> dict[str, Any]:
    return {
        "rank": line.rank,
        **{key: line.settings.get(key) for key in found.columns},
        f"{found.metric.split}.{found.metric.score}": line.mean,
        "half_width": line.half_width,
        "runs": len(line.runs),
        "missing": line.missing,
        "p_value": line.p_value,
        "tied": line.tied,
        "seconds": line.seconds,
    }


def _to_csv(rows: Sequence[dict[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(rows[0])
    for row in rows:
        values = row.values()
        writer.writerow(json.dumps(value) if isinstance(value, list | bool) else value for value in values)
    return stream.getvalue()


def _to_markdown(found: Comparison, lines: Sequence[Line], unit: str) -> str:
    titles = ["rank", *(shorten(key, found.columns) for key in found.columns), *_titles(found, unit)]
    digits, rows = _digits(lines), [["---:"] * len(titles)]
    for line in lines:
        settings = [show_setting(line, key) for key in found.columns]
        rows.append([_rank(line), *settings, *_results(line, digits)])
    table = [f"| {' | '.join(_escaped(cell) for cell in row)} |" for row in (titles, *rows)]
    below = [*_legend(found, lines, unit), *_unscored(found, None)]
    texts = [_headline(found), "", *table, "", *(f"- {printable(text)}" for text in below)]
    return "\n".join(texts).rstrip() + "\n"


def _escaped(cell: str) -> str:
    return printable(cell).replace("|", r"\|")
