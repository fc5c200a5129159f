"""A small table that notebooks show and data frame libraries read."""

import html
from collections.abc import Iterator, Sequence
from typing import Any

from mlpkit.analysis.leaderboard_file import to_arrow

MOST_ROWS = 100  # in a notebook


class Table(Sequence[dict[str, Any]]):
    """Rows as dicts. `pandas.DataFrame(table)`, `polars.DataFrame(table)` and pyarrow read it.

    Attributes:
        columns: names of the columns; a row may lack some.
    """

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        """Take the rows."""
        self._rows = list(rows)
        self.columns = list(dict.fromkeys(key for row in rows for key in row))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    def __getitem__(self, place: Any) -> Any:
        """Return a row, or a table of some rows."""
        return Table(self._rows[place]) if isinstance(place, slice) else self._rows[place]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the rows."""
        return iter(self._rows)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the table by the Arrow PyCapsule interface; needs pyarrow, which mlpkit has."""
        return to_arrow(self._rows, self.columns).__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        """Return the number of rows and the columns."""
        return f"<Table: {len(self)} rows; columns: {', '.join(self.columns)}>"

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{_cell(row.get(name))}</td>" for name in self.columns) + "</tr>"
            for row in self._rows[:MOST_ROWS]
        )
        more = f"<p>{len(self) - MOST_ROWS} more rows</p>" if len(self) > MOST_ROWS else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return html.escape(f"{value:.4g}" if isinstance(value, float) else str(value))
