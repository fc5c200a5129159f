"""How the text of a table is written: separator, decimal mark, encoding, header."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TableFormat:
    """What is known of a table that is text; None: not known yet.

    Attributes:
        separator: the character between two values.
        decimal: the character before a number's fraction, `.` or `,`.
        encoding: as Python names it.
        has_header: whether the first line holds the names of the columns.
    """

    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    has_header: bool | None = None


def describe(table_format: TableFormat) -> str:
    """Return in a few words what was taken, for the line that says so."""
    header = "header in line 1" if table_format.has_header else "no header: columns are called c1, c2, …"
    separator = "tab" if table_format.separator == "\t" else f'"{table_format.separator}"'
    return f'separator {separator}, decimal "{table_format.decimal}", {table_format.encoding}, {header}'
