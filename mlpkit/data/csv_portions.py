"""Reads delimited text in portions, with the types that reading it whole would find."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import pyarrow
import pyarrow.csv

from mlpkit.data.csv_table import CsvReading, MisfitError, Types, in_its_encoding, prepare
from mlpkit.data.table_format import TableFormat
from mlpkit.data.table_text import TableText
from mlpkit.errors import DataError

# The types that pyarrow infers, in the order in which it tries them.
_TYPES = (
    pyarrow.null(),
    pyarrow.int64(),
    pyarrow.bool_(),
    pyarrow.date32(),
    pyarrow.time32("s"),
    pyarrow.timestamp("s"),
    pyarrow.timestamp("ns"),
    pyarrow.float64(),
    pyarrow.string(),
)


@dataclass(frozen=True)
class CsvPortions:
    """Delimited text whose columns and types are known.

    Attributes:
        reading: how it is read.
        types: of the columns to read.
        names: of all columns.
    """

    reading: CsvReading
    types: Types
    names: list[str]

    def tables(self) -> Iterator[pyarrow.Table]:
        """Yield the rows in portions of a few megabytes.

        Raises:
            DataError: the text is not the same any more.
        """
        try:
            yield from _tables(self.reading, self.types)
        except MisfitError:
            raise DataError(f"{self.reading.text.name}: was changed while it was read; try again") from None


def open_csv(
    text: TableText, given: TableFormat, missing: Sequence[str], wanted: Collection[str]
) -> CsvPortions:
    """Read a text once, to check it and to find the types of some columns; no rows are kept.

    Args:
        text: the text.
        given: the format as far as the user gave it.
        missing: strings that stand for a missing value.
        wanted: the columns to read; those that are not there are skipped.

    Raises:
        ConfigError: the given format is not valid.
        DataError: the text is not a table.
    """
    return in_its_encoding(text, given, lambda known: _open(prepare(text, known, missing), wanted))


def _open(reading: CsvReading, wanted: Collection[str]) -> CsvPortions:
    unnamed = set(reading.unnamed)  # whether they are left out depends on their type
    found = reading.types_in_sample()
    types = {
        name: found.get(name, pyarrow.null()) for name in reading.names if name in wanted or name in unnamed
    }
    while not _fit(reading, types):
        pass
    empty = {name for name in unnamed if types[name] == pyarrow.null()}
    names = [name for name in reading.names if name not in empty]
    return CsvPortions(reading, {name: types[name] for name in names if name in wanted}, names)


def _fit(reading: CsvReading, types: Types) -> bool:
    """Return whether all values have these types; if not, give the column that has another the next type."""
    try:
        for _ in _tables(reading, types):
            pass
    except MisfitError as error:
        types[error.column] = _TYPES[_TYPES.index(types[error.column]) + 1]
        return False
    return True


def _tables(reading: CsvReading, types: Types) -> Iterator[pyarrow.Table]:
    columns = list(types) or reading.names[:1]  # pyarrow takes no column for all
    known = types or {columns[0]: pyarrow.string()}
    with reading.opened() as stream, pyarrow.csv.open_csv(stream, *reading.options(known, columns)) as rows:
        for batch in rows:
            if batch.num_rows:
                yield pyarrow.Table.from_batches([batch])
