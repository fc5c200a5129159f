"""How the text of a table is written: separator, decimal mark, encoding and header, and finding them out."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePath
from typing import Any

SEPARATORS = "\t;|, "  # a comma or a blank also stands inside values, so these are tried last
LOOKED_AT = 1000  # rows

# Endings of the files that are read.
TEXTS = (".csv", ".tsv", ".tab", ".txt", ".data", ".dat")
JSONS = (".jsonl", ".ndjson", ".json")
TYPED = (".parquet", ".pq", ".arrow", ".feather", ".ipc")
EXCEL = (".xlsx",)
CODECS = {".gz": "gzip", ".zst": "zstd"}  # by the ending that they add to a text's or JSON's

REFUSED = {  # why, by ending
    **dict.fromkeys(
        (".pkl", ".pickle", ".pt", ".pth", ".joblib"),
        "a pickle runs code when it is opened; where you trust it, save its table as .parquet or .csv, its "
        "arrays with numpy.savez(FILE, X=…, y=…)",
    ),
    **dict.fromkeys((".npy", ".npz"), "an array without column names; save the table as .parquet or .csv"),
    ".xls": "an old Excel book; save it as .xlsx or .csv",
    ".zip": "an archive; unpack it",
}

MOST_LETTERS = 40  # of a name made of a file's

FOUND_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "cp1252")  # which nobody needs to say

NUMBER = r"[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?"  # with either decimal mark
_NUMBER = re.compile(NUMBER)
_FRACTION = re.compile(r"[+-]?[0-9]*([.,])[0-9]+([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class TableFormat:
    """What is known of a table that is text; None: to be found out.

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

    def settings(self) -> dict[str, Any]:
        """Return what is known by the keys of a dataset's config."""
        known = {
            "separator": self.separator,
            "decimal": self.decimal,
            "encoding": self.encoding,
            "header": self.has_header,
        }
        return {key: value for key, value in known.items() if value is not None}


def common_format(formats: Sequence[TableFormat]) -> TableFormat:
    """Return what is the same in all formats, such as those of several files; all else is None."""
    first = asdict(formats[0])
    return TableFormat(
        **{key: value for key, value in first.items() if all(getattr(of, key) == value for of in formats)}
    )


def without_compression(name: str) -> str:
    """Return the name of a file without the ending of a packed one."""
    for ending in CODECS:
        name = name.removesuffix(ending)
    return name


def file_title(path: str) -> str:
    """Return the name of a file without its endings, as a folder may be called on any system; or nothing.

    Letters and digits of any script stay, and hyphens; `data/house prices.csv.gz` becomes `house_prices`.
    """
    name = PurePath(without_compression(PurePath(path).name)).stem
    return re.sub(r"[^\w-]+", "_", name).strip("_-")[:MOST_LETTERS].rstrip("_-")


def describe_format(table_format: TableFormat) -> str:
    """Return what was taken, in the words of a line that says so."""
    return ", ".join(_in_words(table_format).values())


def describe_difference(table_format: TableFormat, trained: TableFormat) -> str:
    """Return in what a text differs from a model's training data, as far as these are known; or nothing."""
    before = trained.settings()
    keys = [key for key, value in table_format.settings().items() if before.get(key, value) != value]
    new, old = _in_words(table_format), _in_words(trained)
    here, there = (", ".join(words[key] for key in keys) for words in (new, old))
    return f"{here}; the training data: {there}" if keys else ""


def _in_words(table_format: TableFormat) -> dict[str, str]:
    """Return each of the settings in words."""
    separator = {"\t": "tab", " ": "blank"}.get(table_format.separator or "", f'"{table_format.separator}"')
    return {
        "separator": f"separator {separator}",
        "decimal": f'decimal "{table_format.decimal}"',
        "encoding": table_format.encoding or "encodings differ",
        "header": "header in line 1" if table_format.has_header else "no header: columns are c1, c2, …",
    }


def infer_format(sample: str, given: TableFormat, missing: Sequence[str]) -> TableFormat:
    """Return the format with separator, decimal mark and header filled in.

    Args:
        sample: the first lines of the text.
        given: what the user says, which is taken as it is.
        missing: texts that mean that a value is missing.
    """
    separator = given.separator or _separator(sample)
    rows = parse_rows(sample, separator)
    decimal = given.decimal or _decimal(rows, separator)
    has_header = _has_header(rows, missing) if given.has_header is None else given.has_header
    return replace(given, separator=separator, decimal=decimal, has_header=has_header)


def parse_rows(sample: str, separator: str) -> list[list[str]]:
    """Return the first rows of a text, without empty lines, as far as they can be told apart."""
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=separator)
    rows: list[list[str]] = []
    try:
        for row in reader:
            if row:
                rows.append([cell.strip() for cell in row])
            if len(rows) == LOOKED_AT:
                break
    except csv.Error:  # what is wrong with it is said by who reads it all
        pass
    return rows


def _separator(sample: str) -> str:
    """Return the one that gives most rows the same number of columns, two or more; a comma if none does."""
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

    A text above numbers is a name. A number above numbers, or a value that its column repeats, is a value.
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
