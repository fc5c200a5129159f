"""Predictions on a terminal, as a table of the first rows; as csv elsewhere."""

from typing import TYPE_CHECKING

from mlpkit.config.problems import plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpkit.analysis.predictions_file import Values
    from mlpkit.system.console import PlainTable

ROWS_ON_A_TERMINAL = 40
LONGEST_CELL = 30  # characters that are shown on a terminal


def show(columns: "Mapping[str, Values]", used: str = "") -> None:
    """Print a table on a terminal, with a note of the weights that were used; csv elsewhere."""
    from mlpkit.analysis.predictions_file import to_csv
    from mlpkit.system.console import fits, is_terminal, make_console, note, print_answer

    console = make_console()
    if not is_terminal(console):
        print_answer(to_csv(columns))
        return
    table = _table(columns, list(columns))
    if not fits(console, table):  # only the probability of the class, not that of each
        others = [name for name in columns if not name.startswith("p(")]
        table = _table(columns, [*others, *(["probability"] if "class" in columns else [])])
    console.print(table)
    if used:
        note(used)
    rows = len(next(iter(columns.values())))
    if rows > ROWS_ON_A_TERMINAL:
        note(f"{plural(rows - ROWS_ON_A_TERMINAL, 'more row')}; --output FILE writes them all")


def _table(columns: "Mapping[str, Values]", names: list[str]) -> "PlainTable":
    """Return a table of the first rows, with these columns; `probability` is that of the class."""
    from mlpkit.system.console import plain_table, shortened

    table = plain_table("row", [shortened(name, LONGEST_CELL) for name in names])
    for index, row in enumerate(zip(*columns.values(), strict=True)):
        if index == ROWS_ON_A_TERMINAL:
            break
        cells = dict(zip(columns, row, strict=True))
        probabilities = [float(str(cells[name])) for name in columns if name.startswith("p(")]
        cells["probability"] = max(probabilities, default=0.0)
        table.add_row(str(index + 1), *(shortened(_cell(cells[name]), LONGEST_CELL) for name in names))
    return table


def _cell(value: object) -> str:
    return str(value) if isinstance(value, str | int) else f"{float(str(value)):.6g}"
