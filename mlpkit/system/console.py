"""Printing of lines, tables and errors, to a terminal or a pipe."""

import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from mlpkit.system.failed_write import failed_write
from mlpkit.system.startup import write_error

Scores = Mapping[str, float]


def make_console(stderr: bool = False) -> Console:
    """Return a console without automatic highlighting, and without line wrapping unless it is a terminal."""
    console = Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False)
    if not is_terminal(console):
        console.width = 1000
    return console


def is_terminal(console: Console) -> bool:
    """Whether the console is a real terminal.

    Rich treats a pipe as a terminal if FORCE_COLOR or TTY_COMPATIBLE is set. Here these only add colours: the
    text that a program reads from a pipe does not depend on them.
    """
    return console.is_terminal and console.file.isatty()


def print_scores(console: Console, title: str, by_split: Mapping[str, Scores]) -> None:
    """Print a table of scores, one row per split; a row may lack some scores."""
    names = list(next(iter(by_split.values())))
    table = plain_table(title, names)
    for split, scores in by_split.items():
        table.add_row(split, *(number(scores[name]) if name in scores else "" for name in names))
    console.print(table)


def print_numbers(console: Console, columns: Sequence[str], rows: Sequence[Sequence[float | str]]) -> None:
    """Print named numbers with six digits; with fewer where the terminal is too narrow.

    Args:
        columns: the headings, first that of the names.
        rows: the cells of each row, first its name.
    """
    for form in (figures, number):
        table = plain_table(columns[0], columns[1:])
        for row in rows:
            table.add_row(*(cell if isinstance(cell, str) else form(cell) for cell in row))
        if form is number or fits(console, table):
            console.print(table)
            return


def print_weights(console: Console, title: str, weights: Sequence[tuple[str, float]]) -> None:
    """Print the weights of a small model, one row each."""
    table = plain_table(title, ["weight"])
    for name, value in weights:
        table.add_row(name, f"{value:.6f}" if abs(value) >= 1e-6 or value == 0 else f"{value:.2e}")
    console.print(table)


class PlainTable(Table):
    """A table without markup in its cells, and with control characters escaped."""

    def add_row(self, *cells: str) -> None:  # type: ignore[override]
        """Add a row of strings."""
        super().add_row(*(Text(printable(cell)) for cell in cells))


def plain_table(title: str, columns: Sequence[str]) -> PlainTable:
    """Return an empty table in mlpkit's style: no frame, numbers right-aligned."""
    table = PlainTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(Text(printable(title), style="bold"), style="bold")
    for column in columns:
        table.add_column(Text(printable(column)), justify="right")
    return table


def fits(console: Console, table: Table) -> bool:
    """Whether the console is wide enough for a table, without broken cells."""
    wanted = Measurement.get(console, console.options.update_width(10_000), table).maximum
    return wanted <= console.width


def breaks_no_word(console: Console, table: Table, place: int) -> bool:
    """Whether the console is wide enough for a table if the words of one column go to lines of their own."""
    options, column = console.options.update_width(10_000), table.columns[place]
    cells = [Measurement.get(console, options, cell) for cell in (column.header, *column.cells)]
    saved = max(cell.maximum for cell in cells) - max(cell.minimum for cell in cells)
    return Measurement.get(console, options, table).maximum - saved <= console.width


def print_answer(text: str) -> None:
    """Print a command's result to stdout.

    Raises:
        WriteError: not everything could be written. A reader may close the pipe early: that is not an error.
    """
    print(text, end="", flush=True)
    error = write_error(sys.stdout)
    if error is not None and not isinstance(error, BrokenPipeError):
        raise failed_write("stdout", error)


def print_error(*problems: object) -> None:
    """Print each problem as one line on stderr, control characters escaped."""
    for line in map(str, problems):
        print(f"mlpkit: {printable(line)}", file=sys.stderr)


def printable(text: str) -> str:
    """Return the text with control characters escaped, such as those that change a terminal's colours."""
    if text.isprintable():  # most are
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def say(console: Console, *lines: str) -> None:
    """Print lines without markup, control characters escaped."""
    for line in lines:
        for part in folded(console, printable(line)):
            console.print(part, markup=False)


def shortened(text: str, most: int) -> str:
    """Return a text of at most `most` characters; a longer one ends in an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def folded(console: Console, line: str) -> list[str]:
    """Return the lines that a terminal shows for a long one, broken between words; elsewhere it stays one."""
    if not is_terminal(console) or len(line) <= console.width:
        return [line]
    return textwrap.wrap(
        line, console.width, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
    ) or [line]


_collected: ContextVar[list[str] | None] = ContextVar("notes", default=None)


@contextmanager
def notes_collected() -> Iterator[list[str]]:
    """Collect the notes of a block instead of printing them, for the Python API."""
    notes: list[str] = []
    token = _collected.set(notes)
    try:
        yield notes
    finally:
        _collected.reset(token)


def note(message: str) -> None:
    """Print a note on stderr; stdout is for results only."""
    if (notes := _collected.get()) is not None:
        notes.append(message)
        return
    console = make_console(stderr=True)
    for line in folded(console, printable(message)):
        console.print(f"[dim]{escape(line)}[/dim]")


def figures(value: float) -> str:
    """Return a number as text with six digits after the point, or five in all if it is small or large."""
    return f"{value:z.6f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.4e}"


def number(value: float) -> str:
    """Return a number as text whose width hardly depends on its size, for the columns of tables."""
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.2e}"
