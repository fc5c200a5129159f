"""Reads csv, tsv and other delimited text."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pyarrow
import pyarrow.csv

from mlpkit.config.problems import plural, show, spell
from mlpkit.data.table_format import TableFormat, counts_up, infer_format, parse_rows
from mlpkit.data.table_text import NotUtf8Error, TableText, Utf8Stream
from mlpkit.data.tables import listed
from mlpkit.errors import ConfigError, DataError

SAMPLE = 1 << 20  # bytes from which the format and the column types are inferred
LONGEST = 4 << 20  # bytes of a row

Types = dict[str, pyarrow.DataType]
Result = TypeVar("Result")

_MISFIT = re.compile(r"In CSV column #([0-9]+): .*conversion error", re.S)


class MisfitError(Exception):
    """A value does not have the type of its column.

    Attributes:
        column: the name of the column.
    """

    def __init__(self, column: str) -> None:
        """Store the column."""
        super().__init__(column)
        self.column = column


def read_csv(
    text: TableText, given: TableFormat, missing: Sequence[str]
) -> tuple[pyarrow.Table, TableFormat]:
    """Return the table and the format with which it was read.

    Args:
        text: the text.
        given: the format as far as the user gave it.
        missing: strings that stand for a missing value.

    Raises:
        ConfigError: the given format is not valid.
        DataError: the text is not a table.
    """
    return in_its_encoding(text, given, lambda known: _read(text, known, missing))


def in_its_encoding(text: TableText, given: TableFormat, read: Callable[[TableFormat], Result]) -> Result:
    """Check a format, and call `read` with it and the text's encoding: cp1252 if it is not UTF-8 after all.

    Raises:
        ConfigError: the given format is not valid.
        DataError: see `read`.
    """
    _check(given)
    encoding = given.encoding or text.encoding()
    try:
        return read(replace(given, encoding=encoding))
    except NotUtf8Error as error:
        if given.encoding or encoding != "utf-8" or error.was_utf8:
            raise
    return read(replace(given, encoding="cp1252"))


def find_line(text: TableText, table_format: TableFormat, row: int) -> int:
    """Return the number of the line (from 1) on which a row (from 0) begins."""
    wanted = row + bool(table_format.has_header)
    rows = enumerate(_lines(text, table_format, is_strict=False))
    return next((line for number, (line, _) in rows if number == wanted), 0)


def _check(given: TableFormat) -> None:
    if given.separator is not None and (len(given.separator) != 1 or given.separator in '\r\n"\\\0'):
        raise ConfigError(
            f'dataset.separator={show(given.separator)}: must be one character, such as "," or ";"'
        )
    if given.separator is not None and not given.separator.isascii():
        raise ConfigError(f"dataset.separator={show(given.separator)}: must be an ASCII character")
    if given.decimal not in (None, ".", ","):
        raise ConfigError(f'dataset.decimal={show(given.decimal)}: must be "." or ","')


def _read(text: TableText, given: TableFormat, missing: Sequence[str]) -> tuple[pyarrow.Table, TableFormat]:
    reading = prepare(text, given, missing)
    table = reading.read(reading.types_in_sample())
    empty = [name for name in reading.unnamed if table[name].type == pyarrow.null()]
    return table.drop_columns(empty), reading.table_format


def prepare(text: TableText, given: TableFormat, missing: Sequence[str]) -> "CsvReading":
    """Infer the format and the names of the columns from the first lines.

    Raises:
        DataError: there is no row, or it is not clear whether the first line holds names.
    """
    sample = _sample(text, given.encoding or "utf-8")
    table_format = infer_format(sample, given, missing)
    rows = parse_rows(sample, table_format.separator or ",")
    if not rows:
        raise DataError(f"{text.name}: empty; it must hold a line of column names and a line for each row")
    may_be_names = len(rows) > 1 and len(rows[0]) > 1 and counts_up(rows[0])
    if given.has_header is None and not table_format.has_header and may_be_names:
        raise DataError(
            f"{text.name}: its first line, {listed(rows[0])}, may be names or a row; "
            "set dataset.header=true or dataset.header=false"
        )
    names = _names(rows[0], table_format, text.name)
    if table_format.has_header and len(rows) == 1 and len(sample) < SAMPLE:
        raise DataError(f"{text.name}: no rows below the column names; add a line for each")
    unnamed = [
        name for name, cell in zip(names, rows[0], strict=True) if table_format.has_header and not cell
    ]
    blank = len(sample) - len(sample.lstrip("\r\n"))
    return CsvReading(text, table_format, names, missing, len(sample[:blank].splitlines()), sample, unnamed)


def _sample(text: TableText, encoding: str) -> str:
    """Return the first lines of the text, at least two."""
    start = bytearray()
    with text.open(encoding) as stream:
        while len(start) < SAMPLE or start.count(b"\n") < 2:
            block = stream.read(SAMPLE)
            if not block:
                return start.decode()
            start += block
            if len(start) > LONGEST:
                break
    return start[: start.rfind(b"\n") + 1].decode(errors="replace")


def _names(first: Sequence[str], table_format: TableFormat, source: str) -> list[str]:
    names = [
        (cell if table_format.has_header else "") or f"c{number}" for number, cell in enumerate(first, 1)
    ]
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise DataError(f"{source}:1: the column {spell(twice)} appears twice; rename or remove one of them")
    return names


@dataclass(frozen=True)
class CsvReading:
    """How pyarrow reads one text.

    Attributes:
        text: the text.
        table_format: its format, complete.
        names: the names of all columns.
        missing: strings that stand for a missing value.
        empty_lines: the number of empty lines above the first row.
        sample: the first lines.
        unnamed: the columns that have no name in the header; one without any value is left out.
    """

    text: TableText
    table_format: TableFormat
    names: list[str]
    missing: Sequence[str]
    empty_lines: int
    sample: str
    unnamed: list[str]

    def types_in_sample(self) -> Types:
        """Return the types of the columns in the first lines, without those that have no value there.

        If pyarrow knows the types beforehand, it need not keep the text of the values, which saves a third of
        the memory. The result is the same as without them if all values have these types.
        """
        try:
            start = pyarrow.BufferReader(self.sample.encode())
            types = pyarrow.csv.read_csv(start, *self.options({})).schema
        except pyarrow.ArrowException:  # reading the whole text reports the error
            return {}
        return {field.name: field.type for field in types if field.type != pyarrow.null()}

    def read(self, types: Types, is_again: bool = False) -> pyarrow.Table:
        """Return the table.

        A later value may not have the type that the sample suggested. Then the text is read again, with the
        integers of that column as floats. If that fails too, pyarrow infers all types itself: one slow pass
        instead of one more pass for each such column.

        Raises:
            DataError: the text is not a table.
        """
        try:
            with self.opened() as stream:
                return pyarrow.csv.read_csv(stream, *self.options(types))
        except MisfitError as error:
            name = error.column
            can_widen = types[name] == pyarrow.int64() and not is_again
            return self.read({**types, name: pyarrow.float64()} if can_widen else {}, is_again=True)

    @contextmanager
    def opened(self) -> Iterator[Utf8Stream]:
        """Open the text for pyarrow's reader, and explain its errors.

        Raises:
            MisfitError: a value has another type than its column.
            DataError: the text is not a table.
        """
        with self.text.open(self.table_format.encoding or "utf-8") as stream:
            try:
                yield stream
            except pyarrow.ArrowException as error:
                if found := _MISFIT.match(str(error)):
                    raise MisfitError(self.names[int(found[1])]) from None
                self._explain()
                raise DataError(f"{self.text.name}: not a table ({show(str(error))}); correct it") from None
            if stream.quotes % 2:
                self._explain()

    def options(self, types: Types, columns: Sequence[str] = ()) -> tuple[Any, Any, Any]:
        """Return pyarrow's options to read, parse and convert the text.

        Args:
            types: of the columns whose type is known; pyarrow infers that of the others.
            columns: the columns to read; () for all.
        """
        around = [
            f"{before}{word}{after}" for word in self.missing for before in ("", " ") for after in ("", " ")
        ]
        return (
            pyarrow.csv.ReadOptions(
                column_names=self.names,
                skip_rows=self.empty_lines,
                skip_rows_after_names=int(bool(self.table_format.has_header)),
                block_size=LONGEST,
            ),
            pyarrow.csv.ParseOptions(delimiter=self.table_format.separator, newlines_in_values=True),
            pyarrow.csv.ConvertOptions(
                null_values=around,
                strings_can_be_null=True,
                decimal_point=self.table_format.decimal,
                column_types=types,
                include_columns=list(columns),
                check_utf8=False,  # the stream has checked it
            ),
        )

    def _explain(self) -> None:
        """Raise an error for the first row with a wrong number of values. Slow: only for failures."""
        width, name = len(self.names), self.text.name
        for line, row in _lines(self.text, self.table_format):
            if len(row) != width:
                values, columns = plural(len(row), "value"), plural(width, "column")
                raise DataError(f"{name}:{line}: {values} for {columns}; correct or remove the row")


def _lines(
    text: TableText, table_format: TableFormat, is_strict: bool = True
) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not empty, including the header, with the number of its first line.

    Raises:
        DataError: with is_strict, a quote is misplaced or not closed.
    """
    limit = csv.field_size_limit(LONGEST)  # a global setting of the csv module
    with text.open(table_format.encoding or "utf-8") as stream:
        lines = io.TextIOWrapper(io.BufferedReader(stream), "utf-8", newline="")
        reader = csv.reader(lines, delimiter=table_format.separator or ",", strict=is_strict)
        start = 1
        try:
            for row in reader:
                if row:
                    yield start, row
                start = reader.line_num + 1
        except csv.Error as error:
            reason = "a quote is not closed" if "unexpected end" in str(error) else str(error)
            raise DataError(f"{text.name}:{start}: {spell(reason)}; correct the row") from None
        finally:
            csv.field_size_limit(limit)
