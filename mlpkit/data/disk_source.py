"""Reads the files of a table in portions, several times: for a table that is larger than memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from mlpkit.data.column_values import RawColumn
from mlpkit.data.csv_table import CsvPortions
from mlpkit.data.encode import PORTION
from mlpkit.data.table_file import TableFile, check_columns, named, read_portions
from mlpkit.data.table_format import CODECS, TEXTS, TableFormat
from mlpkit.data.table_text import NotUtf8Error, TableText
from mlpkit.errors import DataError
from mlpkit.system.paths import expand

PARQUET = (".parquet", ".pq")
FEWEST = 1024  # rows of a portion
EXPANSION = 4  # a guess for texts that are compressed

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Portion:
    """Some rows of a table.

    Attributes:
        file: the rows, and their names in errors.
        split: the split that the file is for; "train" if the table is one.
        first: the number of the first row, counted over all files.
    """

    file: TableFile
    split: str
    first: int

    def columns(self, names: Sequence[str], rows: Rows | None = None) -> list[RawColumn]:
        """Return columns by name, with all rows or with the given ones."""
        table, source = self.file.table, self.file.source
        if rows is None:
            return [RawColumn(name, table[name], source, self.file.locate) for name in names]
        locate = partial(self.locate, rows)
        return [RawColumn(name, table[name].take(rows), source, locate) for name in names]

    def locate(self, rows: Rows, row: int) -> str:
        """Return the name in errors of one of some rows."""
        return self.file.locate(int(rows[row]))


class Source:
    """The files of a table.

    Attributes:
        names: of the columns.
        format: of the text; None for parquet.
    """

    def __init__(
        self, files: Sequence[tuple[str, str]], table_format: TableFormat, missing: Sequence[str], memory: int
    ) -> None:
        """Infer the format of texts.

        Args:
            files: the split and the path of each.
            table_format: the format of texts, as far as it is known.
            missing: strings that stand for a missing value.
            memory: about how many bytes may be used.

        Raises:
            ConfigError, DataError: see `read_table`.
        """
        self._missing, self._memory, self._files = missing, memory, list(files)
        self._texts: dict[str, CsvPortions] = {}
        for _, path in files:
            if expand(path).suffix.lower() not in PARQUET:
                try:
                    self._texts[path] = CsvPortions(
                        TableText(path, expand(path)), table_format, ("", *missing)
                    )
                except NotUtf8Error as error:
                    raise DataError(*error.args) from None
        self.format = next((text.format for text in self._texts.values()), None)
        self.names: list[str] = next(self.portions()).file.table.column_names

    @property
    def title(self) -> str:
        """What the table is called in errors."""
        more = f" and {len(self._files) - 1} more" if len(self._files) > 1 else ""
        return f"{self._files[0][1]}{more}"

    def portions(self) -> Iterator[Portion]:
        """Yield all rows.

        Raises:
            TypesChangedError: see `CsvPortions`.
            DataError: a file cannot be read, or has other columns than the first.
        """
        first, start = None, 0
        for split, path in self._files:
            text = self._texts.get(path)
            for file in read_portions(path, self._missing, self._rows(path) if text is None else 0, text):
                first = first or file
                check_columns(first, file)
                yield Portion(file, split, start)
                start += len(file.table)

    def _rows(self, path: str) -> int:
        """Return how many rows of a parquet file are read at once; 24 bytes a value are enough for most."""
        columns = pa.parquet.read_schema(expand(path))
        fitting = self._memory // 32 // (24 * max(1, len(columns)))
        return max(FEWEST, min(PORTION, fitting))


def streamable(paths: Sequence[str]) -> list[str] | None:
    """Return the files that some paths and globs name, if all of them can be read in portions."""
    files = [name for path in paths for name in named(path) if isinstance(name, str)]
    return files if files and all(_size(file) is not None for file in files) else None


def size_of(files: Sequence[str]) -> int:
    """Return about how many bytes the values of files take as float32."""
    return sum(_size(file) or 0 for file in files)


def _size(file: str) -> int | None:
    path = expand(file)
    kind = path.suffix.lower()
    if not path.is_file():
        return None
    if kind in PARQUET:
        try:
            about = pa.parquet.read_metadata(path)
        except (pa.ArrowException, OSError):
            return None  # reading it tells what is wrong
        return int(about.num_rows) * int(about.num_columns) * 4
    if kind in CODECS and path.with_suffix("").suffix.lower() in TEXTS:
        return path.stat().st_size * EXPANSION
    return path.stat().st_size if kind in TEXTS else None
