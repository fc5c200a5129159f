"""Reads the files of a table in portions, several times: for a table that is larger than memory."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from mlpkit.data.column_values import RawColumn
from mlpkit.data.table_file import TableFile, check_columns, named
from mlpkit.data.table_format import ARROW, CODECS, LINES, PARQUET, TEXTS, TableFormat
from mlpkit.data.table_portions import ROWS, OpenTable, open_table
from mlpkit.system.paths import expand

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


class _EveryName(Collection[str]):
    """A collection that has every name."""

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class Source:
    """The files of a table.

    Attributes:
        names: of the columns.
        format: of delimited text; None for other files.
    """

    def __init__(
        self, files: Sequence[tuple[str, str]], table_format: TableFormat, missing: Sequence[str], memory: int
    ) -> None:
        """Open the files, and check that they have the same columns.

        Args:
            files: the split and the path of each.
            table_format: the format of texts, as far as it is known.
            missing: strings that stand for a missing value.
            memory: about how many bytes may be used.

        Raises:
            ConfigError, DataError: see `open_table`.
        """
        self._opened: list[tuple[str, OpenTable]] = []
        for split, path in files:
            rows = max(FEWEST, min(ROWS, memory // 32 // (24 * columns_of(path))))
            self._opened.append((split, open_table(path, table_format, missing, _EveryName(), rows)))
        first = self._opened[0][1]
        self.format, self.names = first.format, first.names

    @property
    def title(self) -> str:
        """What the table is called in errors."""
        more = f" and {len(self._opened) - 1} more" if len(self._opened) > 1 else ""
        return f"{self._opened[0][1].source}{more}"

    def portions(self) -> Iterator[Portion]:
        """Yield all rows.

        Raises:
            DataError: a file cannot be read, or has other columns than the first.
        """
        first, start = None, 0
        for split, opened in self._opened:
            for file in opened.read():
                first = first or file
                check_columns(first, file)
                yield Portion(file, split, start)
                start += len(file.table)


def columns_of(path: str) -> int:
    """Return the number of columns of a parquet file; a few for texts, whose portions are small anyway."""
    return len(pa.parquet.read_schema(expand(path))) or 1 if expand(path).suffix.lower() in PARQUET else 32


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
            with path.open("rb") as stream:  # a name that is not UTF-8 can be opened by Python alone
                about = pa.parquet.read_metadata(stream)
        except (pa.ArrowException, OSError):
            return None  # reading it tells what is wrong
        return int(about.num_rows) * int(about.num_columns) * 4
    texts = (*TEXTS, *LINES)
    if kind in CODECS and path.with_suffix("").suffix.lower() in texts:
        return path.stat().st_size * EXPANSION
    return path.stat().st_size if kind in (*texts, *ARROW) else None
