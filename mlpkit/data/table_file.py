"""Reads a table from files of any supported kind, or from stdin."""

import glob
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow

from mlpkit.config.problems import show, spell
from mlpkit.data.arrow_table import normalize, read_arrow, read_parquet
from mlpkit.data.csv_table import find_line, read_csv
from mlpkit.data.excel_table import read_excel
from mlpkit.data.json_table import is_document, read_json, read_jsonl
from mlpkit.data.table_format import (
    CODECS,
    EXCEL,
    JSONS,
    PARQUET,
    REFUSED,
    TEXTS,
    TYPED,
    TableFormat,
    common_format,
    describe_format,
)
from mlpkit.data.table_text import NotUtf8Error, TableText, from_stdin
from mlpkit.errors import DataError
from mlpkit.system.paths import expand, no_such_file

__all__ = ["MISSING", "TableFile", "TableFormat", "common_format", "describe_format", "read_table"]

# Strings that stand for a missing value: those of pandas, and the question mark of UCI's tables.
MISSING = (
    *("", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None"),
    "?",
)

COMPRESSED = ", ".join(CODECS)
_INFERRED = TableFormat()
_EXCEL_FORMAT = TableFormat(",", ".", "utf-8")  # of the text that `read_excel` writes


@dataclass(frozen=True)
class TableFile:
    """A table from one or several files.

    Attributes:
        table: columns of integers, floats, bool, date32, timestamps or strings; missing values are null,
            and a
            column without values has pyarrow's type null.
        format: the format of the text, complete; None if the file is not delimited text.
        source: the name of the table in errors.
        locations: for each file the number of its rows, and a function that names one of them in errors.
    """

    table: pyarrow.Table
    format: TableFormat | None
    source: str
    locations: tuple[tuple[int, Callable[[int], str]], ...] = ()

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        found: list[str] = self.table.column_names
        return found

    def locate(self, row: int) -> str:
        """Return the name of a row (from 0) in errors: `houses.csv:17` or `houses.parquet: row 16`."""
        for rows, location in self.locations:
            if row < rows:
                return location(row)
            row -= rows
        raise IndexError(row)


def read_table(
    sources: Sequence[str | TableText],
    table_format: TableFormat = _INFERRED,
    missing: Sequence[str] = MISSING,
) -> TableFile:
    """Read one table from one or several files.

    Args:
        sources: files, globs, `-` for stdin, or texts in memory; all with the same columns, in any order.
        table_format: the format that the user gave for text; fields of None are inferred.
        missing: strings that stand for a missing value, besides the empty string.

    Raises:
        ConfigError: the format or encoding does not exist, or an extra is not installed.
        DataError: a file cannot be read, is not a table, or has other columns than the first.
    """
    missing = ("", *missing)
    names = [name for source in sources for name in named(source)]
    if not names:
        raise DataError("no file to read a table from; name one")
    files: list[TableFile] = []
    for name in names:
        given = files[0].format if files and files[0].format else table_format
        try:
            files.append(_read_one(name, replace(given, encoding=table_format.encoding), missing))
        except NotUtf8Error as error:
            raise DataError(*error.args) from None
        check_columns(files[0], files[-1])
    if len(files) == 1:
        return files[0]
    source = f"{files[0].source} and {len(files) - 1} more"
    locations = tuple(location for file in files for location in file.locations)
    formats = [file.format for file in files if file.format is not None]
    read_as = common_format(formats) if formats else None
    return TableFile(joined([file.table for file in files]), read_as, source, locations)


def named(source: str | TableText) -> Sequence[str | TableText]:
    """Expand a glob to its files; any other source is returned unchanged."""
    if (
        isinstance(source, TableText)
        or source == "-"
        or not glob.has_magic(source)
        or expand(source).exists()
    ):
        return [source]
    found = sorted(glob.glob(str(expand(source)), recursive=True))  # noqa: PTH207 (Path.glob takes no whole path)
    if not found:
        raise DataError(f"{source}: no file matches; check the folder and the ending")
    return found


def _read_one(source: str | TableText, given: TableFormat, missing: Sequence[str]) -> TableFile:
    """Read the table in one file."""
    name = source.name if isinstance(source, TableText) else source
    with explained(name):
        return checked(_read_kind(source, given, missing), missing, name)


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn the errors of reading into a DataError that names the table."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or show(str(error))
        raise DataError(f"{name}: cannot be read ({reason})") from None
    except (pyarrow.ArrowException, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{name}: a damaged file ({show(str(error))}); save it again") from None


def checked(file: TableFile, missing: Sequence[str], name: str) -> TableFile:
    """Check the columns of a table that has been read, and convert them."""
    if file.table.num_columns == 0 or file.table.num_rows == 0:
        raise no_rows(name)
    refuse_repeated(file.names, name)
    return replace(file, table=normalize(file.table, missing, name))


def no_rows(name: str) -> DataError:
    """Return the error of a table without rows."""
    return DataError(f"{name}: no rows; a table has a line for each")


def refuse_repeated(names: Sequence[str], name: str) -> None:
    """Check that no two columns of a table have the same name.

    Raises:
        DataError: two have.
    """
    if twice := next((column for column, count in Counter(names).items() if count > 1), None):
        raise DataError(f"{name}: the column {spell(twice)} appears twice; rename or remove one of them")


def _read_kind(name: str | TableText, given: TableFormat, missing: Sequence[str]) -> TableFile:
    if isinstance(name, TableText) or name == "-":
        text = name if isinstance(name, TableText) else from_stdin()
        kind = kind_of(text)
        return _from_csv(text, given, missing) if kind == ".csv" else _from_json(text, kind)
    path = expand(name)
    kind = path.suffix.lower()
    if kind in CODECS:
        kind = path.with_suffix("").suffix.lower()
        if kind not in (*TEXTS, *JSONS):
            raise DataError(f"{path}: compressed, but not a .csv or .jsonl; decompress it")
    if "://" in name:
        raise DataError(f"{name}: tables are read from files; download it first")
    if not path.is_file():
        folder = "a folder; name a file in it, or several by folder/*.csv"
        problem = folder if path.is_dir() else "not a regular file; - reads stdin"
        raise DataError(f"{path}: {problem if path.exists() else no_such_file(path)}")
    if kind in REFUSED:
        raise DataError(f"{path}: {REFUSED[kind]}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: empty")
    text = TableText(str(path), path)
    if kind in TEXTS:
        return _from_csv(text, text_format(given, kind), missing)
    if kind in JSONS:
        return _from_json(text, kind)
    if kind in EXCEL:
        book = _from_csv(read_excel(path), replace(_EXCEL_FORMAT, has_header=given.has_header), missing)
        return replace(
            book, format=None, locations=((book.table.num_rows, lambda row: f"{path}: row {row + 1}"),)
        )
    if kind in TYPED:
        table = read_parquet(path) if kind in PARQUET else read_arrow(path)
        return TableFile(table, None, str(path), ((table.num_rows, lambda row: f"{path}: row {row + 1}"),))
    known = ", ".join((*TEXTS, *JSONS, *TYPED, *EXCEL))
    raise DataError(
        f"{path}: unknown kind of file {kind or '(no ending)'!r}; known are {known}, texts also with "
        f"{COMPRESSED}"
    )


def kind_of(text: TableText) -> str:
    """Return the kind of a text in memory: .csv, .json or .jsonl."""
    start = text.content[:65536]
    if start.lstrip()[:1] not in (b"{", b"["):
        return ".csv"
    return ".json" if is_document(start) else ".jsonl"


def text_format(given: TableFormat, kind: str) -> TableFormat:
    """Return the format of delimited text of a kind of file: the columns of a .tsv are separated by tabs."""
    is_tsv = kind in (".tsv", ".tab") and given.separator is None
    return replace(given, separator="\t") if is_tsv else given


def _from_csv(text: TableText, given: TableFormat, missing: Sequence[str]) -> TableFile:
    table, table_format = read_csv(text, given, missing)
    return TableFile(
        table,
        table_format,
        text.name,
        ((table.num_rows, lambda row: f"{text.name}:{find_line(text, table_format, row)}"),),
    )


def _from_json(text: TableText, kind: str) -> TableFile:
    table = read_json(text) if kind == ".json" else read_jsonl(text)
    return TableFile(table, None, text.name, ((table.num_rows, lambda row: f"{text.name}: row {row + 1}"),))


def check_columns(first: TableFile, other: TableFile) -> None:
    """Check that two files have the same columns, in any order.

    Raises:
        DataError: they have not.
    """
    names, others = first.table.column_names, other.table.column_names
    lacking = [name for name in names if name not in others]
    extra = [name for name in others if name not in names]
    if lacking or extra:
        problems = [f"lacks {', '.join(map(spell, lacking[:4]))}"] if lacking else []
        problems += [f"also has {', '.join(map(spell, extra[:4]))}"] if extra else []
        raise DataError(
            f"{other.source}: {' and '.join(problems)}; all files need the columns of {first.source}"
        )


def joined(tables: Sequence[pyarrow.Table]) -> pyarrow.Table:
    """Concatenate tables with the same columns; one that is text in one of them becomes text in all."""
    tables = [table.select(tables[0].column_names) for table in tables]
    for index, name in enumerate(tables[0].column_names):
        if len({table.schema.field(index).type for table in tables} - {pyarrow.null()}) > 1:
            kinds = [table.schema.field(index).type for table in tables]
            wider = pyarrow.float64() if all(map(_is_number, kinds)) else pyarrow.string()
            tables = [table.set_column(index, name, table[name].cast(wider)) for table in tables]
    return pyarrow.concat_tables(tables, promote_options="permissive")


def _is_number(kind: pyarrow.DataType) -> bool:
    return bool(
        pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind) or pyarrow.types.is_null(kind)
    )
