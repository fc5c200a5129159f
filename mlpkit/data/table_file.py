"""Reads somebody's table, whatever kind of file it is, as it is."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow
import pyarrow.csv
import pyarrow.parquet

from mlpkit.data.table_format import TableFormat, describe
from mlpkit.errors import DataError

__all__ = ["MISSING", "TableFile", "TableFormat", "describe", "read_table"]

# Texts that mean that a value is missing: pandas' own and the question mark of UCI's tables.
MISSING = (
    *("", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None"),
    "?",
)


@dataclass(frozen=True)
class TableFile:
    """A table as it stands in one file or several.

    Attributes:
        table: its columns: integers, floats, bool, dates, timestamps and strings, null where missing; a column
            without any value is of pyarrow's type null.
        format: how the text was read, with every field filled; None where it is no csv, tsv or txt.
        source: how errors name it.
    """

    table: pyarrow.Table
    format: TableFormat | None
    source: str

    def where(self, row: int) -> str:
        """Return how an error names a row, counted from zero: `houses.csv:17` or `houses.parquet: row 16`."""
        return f"{self.source}:{row + 2}" if self.format else f"{self.source}: row {row + 1}"


def read_table(
    sources: Sequence[str], table_format: TableFormat = TableFormat(), missing: Sequence[str] = MISSING
) -> TableFile:
    """Return the table in some files.

    Args:
        sources: files, globs, or `-` for stdin; all with the same columns.
        table_format: what the user says of a text; what is None is found out.
        missing: texts that mean that a value is missing.

    Raises:
        DataError: it cannot be read, or is no table.
    """
    source = sources[0]
    try:
        if source.endswith(".parquet"):
            return TableFile(pyarrow.parquet.read_table(source), None, source)
        convert = pyarrow.csv.ConvertOptions(null_values=list(missing), strings_can_be_null=True)
        return TableFile(
            pyarrow.csv.read_csv(source, convert_options=convert), TableFormat(",", ".", "utf-8", True), source
        )
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{source}: cannot be read ({error})") from None
