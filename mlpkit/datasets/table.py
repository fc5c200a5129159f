"""The user's table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from mlpkit.config.byte_size import ByteSize
from mlpkit.config.problems import spell
from mlpkit.config.registry import choice
from mlpkit.data.table_config import TableConfig
from mlpkit.data.table_options import ColumnName, TablePath
from mlpkit.errors import ConfigError

if TYPE_CHECKING:
    from mlpkit.data.dataset import Dataset
    from mlpkit.data.input_schema import InputSchema
    from mlpkit.data.raw_table import RawTable
    from mlpkit.data.table_file import TableFormat


@choice("dataset")
class TableDataset(TableConfig):
    """A table of your own: csv, tsv, parquet, jsonl and others."""

    inferred_options: ClassVar = ("separator", "decimal", "encoding", "header", "memory")
    name: Literal["table"]
    path: TablePath | Annotated[tuple[TablePath, ...], Field(strict=False)] | None = Field(
        None, description="the file, a list of files with the same columns, or a pattern such as data/*.csv"
    )
    target: ColumnName | Annotated[tuple[ColumnName, ...], Field(min_length=1, strict=False)] | None = Field(
        None, description="the target column, or a list of columns, all numbers or all yes and no"
    )
    separator: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="character between two values of a text file; null: inferred",
    )
    decimal: Literal[".", ","] | None = Field(None, description="decimal mark of a text file; null: inferred")
    encoding: str | None = Field(
        None,
        min_length=1,
        max_length=40,
        description="encoding of a text file, such as utf-8 or latin-1; null: inferred",
    )
    header: bool | None = Field(
        None, description="whether the first line of a text file holds column names; null: inferred"
    )
    missing: tuple[str, ...] | None = Field(
        None,
        strict=False,
        description="strings that stand for a missing value; null: the usual ones, such as NA",
    )

    memory: ByteSize | None = Field(
        None,
        description="a larger table is read from the disk (not .json, .xlsx); null: half of the free memory",
    )

    def title(self) -> str:
        """See `DatasetConfig.title`."""
        from mlpkit.data.table_format import file_title

        paths = self.paths()
        return (file_title(paths[0]) if paths else "") or self.name

    def paths(self) -> tuple[str, ...]:
        """See `DatasetConfig.paths`."""
        return (self.path,) if isinstance(self.path, str) else self.path or ()

    def raw(self) -> "RawTable":
        """See `TableOptions.raw`."""
        from mlpkit.data.raw_table import read_files

        paths = self.paths()
        if not paths:
            raise ConfigError("dataset.path: no file is named; write dataset.path=FILE, such as houses.csv")
        return read_files(self._files(), self.table_format(), self.missing_texts())

    def _files(self) -> dict[str, tuple[str, ...]]:
        """Return the files of each split.

        Raises:
            ConfigError: a file is named for two splits.
        """
        files = {"train": self.paths()}
        files |= {
            name: (path,) for name, path in (("val", self.split.val), ("test", self.split.test)) if path
        }
        if len(files) > 1:
            _refuse_common_files(files)
        return files

    def load(self, download: bool = True) -> "Dataset":
        """See `DatasetConfig.load`."""
        from mlpkit.data.disk_tables import load_from_disk

        if "-" in (*self.paths(), self.split.val, self.split.test):
            raise ConfigError(
                "dataset.path=-: stdin cannot be read again when a run is resumed; save it in a file"
            )
        return load_from_disk(self, self._files(), self.memory, None) or super().load(download)

    def load_as(self, trained: "InputSchema", download: bool = True) -> "Dataset":
        """See `DatasetConfig.load_as`."""
        from mlpkit.data.disk_tables import load_from_disk

        found = load_from_disk(self, self._files(), self.memory, trained)
        return found or super().load_as(trained, download)

    def targets(self) -> tuple[str, ...]:
        """See `TableOptions.targets`."""
        return (self.target,) if isinstance(self.target, str) else self.target or ()

    def table_format(self) -> "TableFormat":
        """See `TableOptions.table_format`."""
        from mlpkit.data.table_file import TableFormat

        return TableFormat(self.separator, self.decimal, self.encoding, self.header)

    def missing_texts(self) -> tuple[str, ...]:
        """See `TableOptions.missing_texts`."""
        return super().missing_texts() if self.missing is None else self.missing


def _refuse_common_files(files: Mapping[str, Sequence[str]]) -> None:
    """Check that no file is in two splits, whose rows would be trained on and scored.

    Raises:
        ConfigError: one is.
    """
    from mlpkit.data.table_file import named
    from mlpkit.system.paths import expand

    keys: dict[Path, str] = {}  # the key that names each file
    for split, sources in files.items():
        key = "dataset.path" if split == "train" else f"dataset.split.{split}"
        for file in (file for source in sources for file in named(source) if isinstance(file, str)):
            if (other := keys.setdefault(expand(file).resolve(), key)) != key:
                raise ConfigError(f"{key}={spell(file)}: {other} names this file too; name it in one of them")
