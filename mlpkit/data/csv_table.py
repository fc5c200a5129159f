"""Reads csv, tsv and other delimited text."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import pyarrow
import pyarrow.csv

from mlpkit.config.problems import plural, show, spell
from mlpkit.data.table_format import TableFormat, counts_up, infer_format, parse_rows
from mlpkit.data.table_text import NotUtf8Error, TableText
from mlpkit.data.tables import listed
from mlpkit.errors import ConfigError, DataError

SAMPLE = 1 << 20  # bytes from which the format and the column types are inferred
LONGEST = 4 << 20  # bytes of a row

_MISFIT = re.compile(r"In CSV column #([0-9]+): .*conversion error", re.S)


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
    _check(given)
    encoding = given.encoding or text.encoding()
    try:
        return _read(text, replace(given, encoding=encoding), missing)
    except NotUtf8Error as error:
        if given.encoding or encoding != "utf-8" or error.was_utf8:
            raise
    return _read(text, replace(given, encoding="cp1252"), missing)


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


class CsvPortions:
    """The rows of a text in portions of a few MB, so that they need not fit into memory.

    Attributes:
        format: the format with which it is read.
    """

    def __init__(self, text: TableText, given: TableFormat, missing: Sequence[str]) -> None:
        """Infer the format and the types of the columns from the first lines.

        Raises:
            ConfigError, DataError: see `read_csv`.
        """
        _check(given)
        given = replace(given, encoding=given.encoding or text.encoding())
        self._reading, first, sample = _prepared(text, given, missing)
        self.format, types = self._reading.table_format, self._reading.types_in(sample)
        names = self._reading.names
        self._types = {name: types.get(name, pyarrow.string()) for name in names}
        cells = zip(names, first if self.format.has_header else names, strict=True)
        self._empty = [name for name, cell in cells if not cell and name not in types]

    def locate(self, row: int) -> str:
        """Return the name of a row (from 0) in errors."""
        text = self._reading.text
        return f"{text.name}:{find_line(text, self.format, row)}"

    def __iter__(self) -> Iterator[pyarrow.Table]:
        """Yield the portions.

        Raises:
            TypesChangedError: a column has other values than those before; read all portions again.
            DataError: the text is not a table.
        """
        reading = self._reading
        with reading.text.open(self.format.encoding or "utf-8") as stream:
            try:
                for batch in pyarrow.csv.open_csv(stream, *reading.options(self._types)):
                    yield pyarrow.Table.from_batches([batch]).drop_columns(self._empty)
            except pyarrow.ArrowException as error:
                found = _MISFIT.search(str(error))
                name = "" if found is None else reading.names[int(found[1])]
                if found is None or self._types[name] == pyarrow.string():
                    reading.fail(error)
                whole = self._types[name] == pyarrow.int64()
                self._types[name] = pyarrow.float64() if whole else pyarrow.string()
                raise TypesChangedError from None
            if stream.quotes % 2:
                reading.explain()


class TypesChangedError(Exception):
    """The values of a column are of another type than those before."""


def _read(text: TableText, given: TableFormat, missing: Sequence[str]) -> tuple[pyarrow.Table, TableFormat]:
    reading, first, sample = _prepared(text, given, missing)
    try:
        types = reading.types_in(sample)
    except pyarrow.ArrowException:  # `read` below reads the whole text and reports the error
        types = {}
    table, has_header = reading.read(types), reading.table_format.has_header
    unnamed = [name for name, cell in zip(reading.names, first, strict=True) if has_header and not cell]
    empty = [name for name in unnamed if table[name].type == pyarrow.null()]
    return table.drop_columns(empty), reading.table_format


def _prepared(
    text: TableText, given: TableFormat, missing: Sequence[str]
) -> "tuple[_Reading, Sequence[str], str]":
    """Return how to read a text, its first row, and the first lines as text."""
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
    blank = len(sample) - len(sample.lstrip("\r\n"))
    reading = _Reading(text, table_format, names, missing, len(sample[:blank].splitlines()))
    return reading, rows[0], sample


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
class _Reading:
    """The arguments with which pyarrow reads one text."""

    text: TableText
    table_format: TableFormat
    names: list[str]
    missing: Sequence[str]
    empty_lines: int  # above the first row

    def types_in(self, sample: str) -> dict[str, pyarrow.DataType]:
        """Return the types of the columns in the first lines.

        If pyarrow knows the types beforehand, it need not keep the text of the values, which saves a third of
        the memory. The result is the same as without them if all values have these types.
        """
        types = self._parse(pyarrow.BufferReader(sample.encode()), {}).schema
        return {field.name: field.type for field in types if field.type != pyarrow.null()}

    def read(self, types: dict[str, pyarrow.DataType], is_again: bool = False) -> pyarrow.Table:
        """Return the table.

        A later value may not have the type that the sample suggested. Then the text is read again, with the
        integers of that column as floats. If that fails too, pyarrow infers all types itself: one slow pass
        instead of one more pass for each such column.

        Raises:
            DataError: the text is not a table.
        """
        stream = self.text.open(self.table_format.encoding or "utf-8")
        with stream:
            try:
                table = self._parse(stream, types)
            except pyarrow.ArrowException as error:
                if found := _MISFIT.match(str(error)):
                    name = self.names[int(found[1])]
                    can_widen = types[name] == pyarrow.int64() and not is_again
                    return self.read({**types, name: pyarrow.float64()} if can_widen else {}, is_again=True)
                self.fail(error)
            if stream.quotes % 2:
                self.explain()
        return table

    def fail(self, error: Exception) -> NoReturn:
        """Raise the error of a text that pyarrow cannot read."""
        self.explain()
        raise DataError(f"{self.text.name}: not a table ({show(str(error))}); correct it") from None

    def _parse(
        self, source: io.RawIOBase | pyarrow.NativeFile, types: dict[str, pyarrow.DataType]
    ) -> pyarrow.Table:
        return pyarrow.csv.read_csv(source, *self.options(types))

    def options(
        self, types: dict[str, pyarrow.DataType]
    ) -> tuple[pyarrow.csv.ReadOptions, pyarrow.csv.ParseOptions, pyarrow.csv.ConvertOptions]:
        """Return the arguments for pyarrow.

        Args:
            types: of the columns; pyarrow infers those that are not there.
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
                check_utf8=False,  # the stream has checked it
            ),
        )

    def explain(self) -> None:
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
