"""Converts an Excel workbook with one filled sheet to csv text."""

import csv
import io
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from mlpkit.config.problems import spell
from mlpkit.data.table_text import FREE_EXPANSION, MAX_EXPANSION, TableText
from mlpkit.errors import ConfigError, DataError


def read_excel(path: Path) -> TableText:
    """Return the rows of a workbook as csv text, whose types are then inferred like those of a csv file.

    Raises:
        ConfigError: the extra `excel` is not installed.
        DataError: the workbook is damaged, or has several filled sheets.
    """
    try:
        import python_calamine
    except ImportError:
        raise ConfigError(f"{path}: Excel workbooks need an extra; pip install 'mlpkit[excel]'") from None
    _check_size(path)
    try:
        with path.open("rb") as file, python_calamine.CalamineWorkbook.from_filelike(file) as book:
            sheets = {name: book.get_sheet_by_name(name).to_python() for name in book.sheet_names}
    except (python_calamine.CalamineError, OSError, ValueError, OverflowError) as error:
        raise DataError(
            f"{path}: not an Excel workbook, or a damaged one ({spell(str(error))}); save it again"
        ) from None
    filled = {name: rows for name, rows in sheets.items() if rows}
    if len(filled) > 1:
        names = ", ".join(spell(name) for name in filled)
        raise DataError(f"{path}: has {len(filled)} sheets ({names}); save the one with the table as a file")
    written = io.StringIO(newline="")
    writer = csv.writer(written, lineterminator="\n")
    for row in next(iter(filled.values()), []):
        writer.writerow([_spelled(cell) for cell in row])
    return TableText(str(path), content=written.getvalue().encode("utf-8", "replace"))


def _check_size(path: Path) -> None:
    try:
        with ZipFile(path) as book:
            unpacked = sum(member.file_size for member in book.infolist())
            if unpacked > path.stat().st_size * MAX_EXPANSION + FREE_EXPANSION:
                raise DataError(
                    f"{path}: unpacks to more than {MAX_EXPANSION} times its size; save it as .csv"
                )
            damaged = book.testzip()  # it reads no more than the declared size
    except (BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise DataError(
            f"{path}: not an Excel workbook, or a damaged one ({spell(str(error))}); save it again"
        ) from None
    if damaged:
        raise DataError(f"{path}: a damaged Excel workbook ({spell(damaged)}); save it again")


def _spelled(cell: Any) -> object:
    """Return a cell's value for csv: Excel stores integers as floats."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1 << 53:
        return int(cell)
    return cell
