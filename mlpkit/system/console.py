"""What is printed: lines, tables and errors, on a terminal or into a pipe."""

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mlpkit.errors import WriteError
from mlpkit.system.startup import lost

Scores = Mapping[str, float]


def make_console(stderr: bool = False) -> Console:
    """Return a console that marks nothing up by itself, and wraps nothing where no terminal asks for it."""
    console = Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False)
    if not is_terminal(console):
        console.width = 1000
    return console


def is_terminal(console: Console) -> bool:
    """Whether somebody looks at the console.

    For rich, FORCE_COLOR and TTY_COMPATIBLE make a terminal of a pipe. Here they ask for colours, and for
    nothing else: what a program reads does not depend on them.
    """
    return console.is_terminal and console.file.isatty()


def print_scores(console: Console, title: str, by_split: Mapping[str, Scores]) -> None:
    """Print a table of scores, a row for each split."""
    names = list(next(iter(by_split.values())))
    table = plain_table(title, names)
    for split, scores in by_split.items():
        table.add_row(split, *(number(scores[name]) for name in names))
    console.print(table)


def print_weights(console: Console, title: str, weights: Sequence[tuple[str, float]]) -> None:
    """Print a small model's weights, a row each."""
    table = plain_table(title, ["weight"])
    for name, value in weights:
        table.add_row(name, f"{value:.6f}" if abs(value) >= 1e-6 or value == 0 else f"{value:.2e}")
    console.print(table)


class PlainTable(Table):
    """A table whose cells are shown as they are: no markup, and spelled what a terminal would obey."""

    def add_row(self, *cells: str) -> None:  # type: ignore[override]
        """Add a row of texts."""
        super().add_row(*(Text(printable(cell)) for cell in cells))


def plain_table(title: str, columns: Sequence[str]) -> PlainTable:
    """Return an empty table in the house style: no frame, numbers to the right."""
    table = PlainTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(Text(printable(title), style="bold"), style="bold")
    for column in columns:
        table.add_column(Text(printable(column)), justify="right")
    return table


def print_answer(text: str) -> None:
    """Print what a command was asked for, and nothing else.

    Raises:
        WriteError: not all of it could be written. Where its reader has had enough, that is none.
    """
    print(text, end="", flush=True)
    error = lost(sys.stdout)
    if error is not None and not isinstance(error, BrokenPipeError):
        raise WriteError(f"stdout: cannot be written ({error.strerror}); free some space")


def print_error(*problems: object) -> None:
    """Print each problem on a line of stderr; nothing of a path or a value reaches a terminal raw."""
    for line in map(str, problems):
        print(f"mlpkit: {printable(line)}", file=sys.stderr)


def printable(text: str) -> str:
    """Return a text with what a terminal would obey rather than show spelled out."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def say(console: Console, *lines: str) -> None:
    """Print lines as they are: no markup, and spelled what a terminal would obey rather than show."""
    for line in lines:
        console.print(printable(line), markup=False)


def note(message: str) -> None:
    """Print a remark on stderr, so that stdout holds results only."""
    make_console(stderr=True).print(f"[dim]{escape(printable(message))}[/dim]")


def number(value: float) -> str:
    """Return a number in the same width whatever its size, so that columns stand still."""
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.2e}"
