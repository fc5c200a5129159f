"""Reads somebody's table, whatever kind of file it is, as it is."""

import glob
import zlib
from collections.abc import Callable, Sequence
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

# Texts that mean that a value is missing: pandas' own and the question mark of UCI's tables.
MISSING = (
    *("", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None"),
    "?",
)

PACKED = ", ".join(CODECS)
_FOUND_OUT = TableFormat()
_OF_EXCEL = TableFormat(",", ".", "utf-8")  # as its rows are written as a text


@dataclass(frozen=True)
class TableFile:
    """A table as it stands in one file or several.

    Attributes:
        table: its columns: integers, floats, bool, date32, timestamps and strings, null where a value is
            missing; a column without any value is of pyarrow's type null.
        format: how the text was read, with every field filled; None where it is no csv or the like.
        source: how errors name it.
        locations: for each file, its rows and what names one of them.
    """

    table: pyarrow.Table
    format: TableFormat | None
    source: str
    locations: tuple[tuple[int, Callable[[int], str]], ...] = ()

    def where(self, row: int) -> str:
        """Return how an error names a row, counted from zero: `houses.csv:17` or `houses.parquet: row 16`."""
        for rows, location in self.locations:
            if row < rows:
                return location(row)
            row -= rows
        raise IndexError(row)


def read_table(
    sources: Sequence[str], table_format: TableFormat = _FOUND_OUT, missing: Sequence[str] = MISSING
) -> TableFile:
    """Return the table in some files.

    Args:
        sources: files, globs, or `-` for stdin; all with the same columns, in any order.
        table_format: what the user says of a text; what is None is found out.
        missing: texts that mean that a value is missing; an empty one does as well.

    Raises:
        ConfigError: there is no such format or encoding, or an extra is not installed.
        DataError: a file cannot be read, is no table, or has other columns than the first.
    """
    missing = ("", *missing)
    names = [name for source in sources for name in _named(source)]
    if not names:
        raise DataError("no file to read a table from; name one")
    files: list[TableFile] = []
    for name in names:
        said = files[0].format if files and files[0].format else table_format
        try:
            files.append(_read_one(name, replace(said, encoding=table_format.encoding), missing))
        except NotUtf8Error as error:
            raise DataError(*error.args) from None
        _check_columns(files[0], files[-1])
    if len(files) == 1:
        return files[0]
    source = f"{files[0].source} and {len(files) - 1} more"
    locations = tuple(location for file in files for location in file.locations)
    formats = [file.format for file in files if file.format is not None]
    read_as = common_format(formats) if formats else None
    return TableFile(_joined([file.table for file in files]), read_as, source, locations)


def _named(source: str) -> list[str]:
    """Return the files that a glob stands for; what is no glob stands for itself."""
    if source == "-" or not glob.has_magic(source) or expand(source).exists():
        return [source]
    found = sorted(glob.glob(str(expand(source)), recursive=True))  # noqa: PTH207 (Path.glob takes no whole path)
    if not found:
        raise DataError(f"{source}: no file is named so; check the folder and the ending")
    return found


def _read_one(name: str, said: TableFormat, missing: Sequence[str]) -> TableFile:
    """Return the table in one file."""
    try:
        file = _read_kind(name, said, missing)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or show(str(error))
        raise DataError(f"{name}: cannot be read ({reason})") from None
    except (pyarrow.ArrowException, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{name}: a damaged file ({show(str(error))}); save it again") from None
    if file.table.num_columns == 0 or file.table.num_rows == 0:
        raise DataError(f"{name}: no rows; a table has a line for each")
    columns = file.table.column_names
    if twice := next((column for column in columns if columns.count(column) > 1), None):
        raise DataError(f"{name}: the column {spell(twice)} stands twice; rename or remove one of them")
    return replace(file, table=normalize(file.table, missing, name))


def _read_kind(name: str, said: TableFormat, missing: Sequence[str]) -> TableFile:
    if name == "-":
        text = from_stdin()
        start = text.content[:65536]
        if start.lstrip()[:1] not in (b"{", b"["):
            return _from_csv(text, said, missing)
        return _from_json(text, ".json" if is_document(start) else ".jsonl")
    path = expand(name)
    kind = path.suffix.lower()
    if kind in CODECS:
        kind = path.with_suffix("").suffix.lower()
        if kind not in (*TEXTS, *JSONS):
            raise DataError(f"{path}: packed, but no .csv or .jsonl; unpack it")
    if "://" in name:
        raise DataError(f"{name}: tables are read from files; download it first")
    if not path.is_file():
        folder = "a folder; name a file in it, or several by folder/*.csv"
        odd = folder if path.is_dir() else "not a regular file; - reads stdin"
        raise DataError(f"{path}: {odd if path.exists() else no_such_file(path)}")
    if kind in REFUSED:
        raise DataError(f"{path}: {REFUSED[kind]}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: empty")
    text = TableText(str(path), path)
    if kind in TEXTS:
        said = replace(said, separator="\t") if kind in (".tsv", ".tab") and said.separator is None else said
        return _from_csv(text, said, missing)
    if kind in JSONS:
        return _from_json(text, kind)
    if kind in EXCEL:
        book = _from_csv(read_excel(path), replace(_OF_EXCEL, has_header=said.has_header), missing)
        return replace(
            book, format=None, locations=((book.table.num_rows, lambda row: f"{path}: row {row + 1}"),)
        )
    if kind in TYPED:
        table = read_parquet(path) if kind in (".parquet", ".pq") else read_arrow(path)
        return TableFile(table, None, str(path), ((table.num_rows, lambda row: f"{path}: row {row + 1}"),))
    known = ", ".join((*TEXTS, *JSONS, *TYPED, *EXCEL))
    raise DataError(
        f"{path}: unknown kind of file {kind or '(no ending)'!r}; known are {known}, texts also with {PACKED}"
    )


def _from_csv(text: TableText, said: TableFormat, missing: Sequence[str]) -> TableFile:
    table, taken = read_csv(text, said, missing)
    return TableFile(
        table, taken, text.name, ((table.num_rows, lambda row: f"{text.name}:{find_line(text, taken, row)}"),)
    )


def _from_json(text: TableText, kind: str) -> TableFile:
    table = read_json(text) if kind == ".json" else read_jsonl(text)
    return TableFile(table, None, text.name, ((table.num_rows, lambda row: f"{text.name}: row {row + 1}"),))


def _check_columns(first: TableFile, other: TableFile) -> None:
    names, others = first.table.column_names, other.table.column_names
    lacking = [name for name in names if name not in others]
    extra = [name for name in others if name not in names]
    if lacking or extra:
        said = [f"lacks {', '.join(map(spell, lacking[:4]))}"] if lacking else []
        said += [f"has also {', '.join(map(spell, extra[:4]))}"] if extra else []
        raise DataError(
            f"{other.source}: {' and '.join(said)}; it must have the columns of {first.source}, in any order"
        )


def _joined(tables: list[pyarrow.Table]) -> pyarrow.Table:
    """Return the rows of all tables; a column that is text in one of them is text in all."""
    tables = [table.select(tables[0].column_names) for table in tables]
    for place, name in enumerate(tables[0].column_names):
        if len({table.schema.field(place).type for table in tables} - {pyarrow.null()}) > 1:
            kinds = [table.schema.field(place).type for table in tables]
            wider = pyarrow.float64() if all(map(_is_number, kinds)) else pyarrow.string()
            tables = [table.set_column(place, name, table[name].cast(wider)) for table in tables]
    return pyarrow.concat_tables(tables, promote_options="permissive")


def _is_number(kind: pyarrow.DataType) -> bool:
    return bool(
        pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind) or pyarrow.types.is_null(kind)
    )
