"""Tables of numbers with names, such as the weights of a layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlpkit.system.console import shortened

Cell = float | str

LONGEST_NAME = 14  # characters of a feature or class
MOST_COLUMNS = 6  # units in one table of weights


@dataclass(frozen=True)
class Table:
    """Numbers with their names.

    Attributes:
        columns: the heading of each column; the first is of the rows' names.
        rows: the cells of each row, the first of which is its name.
        are_symbols: whether the columns are headed by symbols, such as z₁, and not by names from the data.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    are_symbols: bool = False

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return len(self.rows) * (len(self.columns) - 1)


def tables_by_unit(
    inputs: Sequence[str], units: Sequence[str], values: Sequence[Sequence[float]], heading: str = ""
) -> Iterator[Table]:
    """Yield tables of weights (inputs, units), with a few units each, which fit into a terminal."""
    for first in range(0, len(units), MOST_COLUMNS):
        some = slice(first, first + MOST_COLUMNS)
        rows = zip(inputs, values, strict=True)
        yield Table((heading, *units[some]), tuple((name, *numbers[some]) for name, numbers in rows))


def cut(name: str) -> str:
    """Return a name that is short enough for a table."""
    return shortened(name, LONGEST_NAME)
