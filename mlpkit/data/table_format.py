"""The format of delimited text (separator, decimal mark, encoding, header), and how it is inferred."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePath
from typing import Any

SEPARATORS = "\t;|, "  # values contain commas and spaces as well, so these are tried last
SAMPLE_ROWS = 1000  # from which the format is inferred

# Endings of the files that are read.
TEXTS = (".csv", ".tsv", ".tab", ".txt", ".data", ".dat")
LINES = (".jsonl", ".ndjson")
JSONS = (*LINES, ".json")
PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc")
TYPED = (*PARQUET, *ARROW)
EXCEL = (".xlsx",)
CODECS = {".gz": "gzip", ".zst": "zstd"}  # by the ending after .csv, .jsonl and so on

REFUSED = {  # the reason, by ending
    **dict.fromkeys(
        (".pkl", ".pickle", ".pt", ".pth", ".joblib"),
        "a pickle can run code when it is opened; if you trust it, save its table as .parquet or .csv, or "
        "its "
        "arrays with numpy.savez(FILE, X=…, y=…)",
    ),
    **dict.fromkeys((".npy", ".npz"), "an array without column names; save the table as .parquet or .csv"),
    ".xls": "an old Excel workbook; save it as .xlsx or .csv",
    ".zip": "an archive; unpack it",
}

MOST_LETTERS = 40  # of a folder name made from a file name

FOUND_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "cp1252")  # that are inferred

NUMBER = r"[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?"  # with either decimal mark
_NUMBER = re.compile(NUMBER)
_FRACTION = re.compile(r"[+-]?[0-9]*([.,])[0-9]+([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class TableFormat:
    """The format of delimited text; fields of None are inferred.

    Attributes:
        separator: the delimiter, one character.
        decimal: the decimal mark, `.` or `,`.
        encoding: Python's name of the encoding.
        has_header: whether the first line holds the column names.
    """

    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    has_header: bool | None = None

    def settings(self) -> dict[str, Any]:
        """Return the fields that are not None, by their keys in a dataset's config."""
        known = {
            "separator": self.separator,
            "decimal": self.decimal,
            "encoding": self.encoding,
            "header": self.has_header,
        }
        return {key: value for key, value in known.items() if value is not None}


def common_format(formats: Sequence[TableFormat]) -> TableFormat:
    """Return the fields that are equal in all formats; the others are None."""
    first = asdict(formats[0])
    return TableFormat(
        **{
            key: value
            for key, value in first.items()
            if all(getattr(table_format, key) == value for table_format in formats)
        }
    )


def without_compression(name: str) -> str:
    """Return a file name without .gz or .zst."""
    for ending in CODECS:
        name = name.removesuffix(ending)
    return name


def file_title(path: str) -> str:
    """Return a folder name, valid on any system, made from a file name without its endings; it may be empty.

    Letters and digits of any script stay, and hyphens; `data/house prices.csv.gz` becomes `house_prices`.
    """
    name = PurePath(without_compression(PurePath(path).name)).stem
    return re.sub(r"[^\w-]+", "_", name).strip("_-")[:MOST_LETTERS].rstrip("_-")


def describe_format(table_format: TableFormat) -> str:
    """Return the format as text, such as `separator ",", decimal ".", utf-8, header in line 1`."""
    return ", ".join(_in_words(table_format).values())


def describe_difference(table_format: TableFormat, trained: TableFormat) -> str:
    """Return how a format differs from that of a model's training data; empty if it does not."""
    before = trained.settings()
    keys = [key for key, value in table_format.settings().items() if before.get(key, value) != value]
    new, old = _in_words(table_format), _in_words(trained)
    here, there = (", ".join(words[key] for key in keys) for words in (new, old))
    return f"{here}; the training data: {there}" if keys else ""


def _in_words(table_format: TableFormat) -> dict[str, str]:
    """Return each field as text."""
    separator = {"\t": "tab", " ": "space"}.get(table_format.separator or "", f'"{table_format.separator}"')
    return {
        "separator": f"separator {separator}",
        "decimal": f'decimal "{table_format.decimal}"',
        "encoding": table_format.encoding or "encodings differ",
        "header": "header in line 1" if table_format.has_header else "no header: columns are c1, c2, …",
    }


def infer_format(sample: str, given: TableFormat, missing: Sequence[str]) -> TableFormat:
    """Infer separator, decimal mark and header where they are not given.

    Args:
        sample: the first lines of the text.
        given: the fields that the user gave, which are kept.
        missing: strings that stand for a missing value.
    """
    separator = given.separator or _separator(sample)
    rows = parse_rows(sample, separator)
    decimal = given.decimal or _decimal(rows, separator)
    has_header = _has_header(rows, missing) if given.has_header is None else given.has_header
    return replace(given, separator=separator, decimal=decimal, has_header=has_header)


def counts_up(cells: Sequence[str]) -> bool:
    """Whether cells are whole numbers in a row, as column numbers and years are: 0,1,2 or 2020,2021."""
    if not all(cell.isascii() and cell.isdecimal() for cell in cells):
        return False
    start = int(cells[0])
    return list(cells) == [str(start + place) for place in range(len(cells))]


def parse_rows(sample: str, separator: str) -> list[list[str]]:
    """Parse the first rows of a text, without empty lines, up to the first syntax error."""
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=separator)
    rows: list[list[str]] = []
    try:
        for row in reader:
            if row:
                rows.append([cell.strip() for cell in row])
            if len(rows) == SAMPLE_ROWS:
                break
    except csv.Error:  # the reader of the whole text reports the error
        pass
    return rows


def _separator(sample: str) -> str:
    """Return the separator that gives most rows the same number of columns, two or more; else a comma."""
    best, most = ",", 0.0
    for separator in SEPARATORS:
        widths = Counter(len(row) for row in parse_rows(sample, separator))
        width, rows = max(widths.items(), key=lambda item: item[1], default=(1, 0))
        if width > 1 and rows / widths.total() > most:
            best, most = separator, rows / widths.total()
    return best


def _decimal(rows: list[list[str]], separator: str) -> str:
    marks = Counter(found[1] for row in rows for cell in row if (found := _FRACTION.fullmatch(cell)))
    return "," if marks[","] > marks["."] else "."


def _has_header(rows: list[list[str]], missing: Sequence[str]) -> bool:
    """Whether the first row holds names.

    Text above numbers is a name. A number above numbers is a value, and so is text that its column repeats.
    """
    if not rows:
        return True
    first, body = rows[0], rows[1:]
    is_value = all(_NUMBER.fullmatch(cell) or cell in missing for cell in first)
    for place, cell in enumerate(first):
        column = [row[place] for row in body if place < len(row) and row[place] not in missing]
        if cell in missing or not column:
            continue
        if sum(_NUMBER.fullmatch(value) is not None for value in column) > len(column) / 2:
            if not _NUMBER.fullmatch(cell):
                return True
            is_value = True
        elif cell in column:
            is_value = True
    return not is_value
