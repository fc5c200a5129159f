"""Opens a table on the disk as a dataset, whose tensors are its files."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from mlpkit.data.arrays import read_npy
from mlpkit.data.dataset import SPLITS, Dataset, Split
from mlpkit.data.disk_table import FORMAT, HEADER, INPUTS, TARGETS, WEIGHTS, DiskTable, Header, Numbers
from mlpkit.data.scaling import Affine
from mlpkit.errors import DataError
from mlpkit.system.atomic_write import atomic_write
from mlpkit.system.paths import cache_folder


def tables_folder() -> Path:
    """Return the folder of all tables on the disk, in the user's cache."""
    return cache_folder() / "tables"


def write_header(folder: Path, header: Header) -> None:
    """Write `table.json`, the last file of a table."""
    atomic_write(folder / HEADER, TypeAdapter(Header).dump_json(header, indent=1))


def open_table(folder: Path, memory: int) -> DiskTable:
    """Return a table on the disk.

    Raises:
        DataError: it is damaged, or of another version of mlpkit.
    """
    try:
        header = TypeAdapter(Header).validate_json((folder / HEADER).read_bytes())
    except (OSError, ValidationError):
        raise _damaged(folder) from None
    if header.format != FORMAT or not header.splits or set(header.splits) - set(SPLITS):
        raise _damaged(folder)
    return DiskTable(folder, header, memory)


def as_dataset(table: DiskTable, name: str, is_inferred: bool) -> Dataset:
    """Return the dataset of a table; its tensors are files that are mapped into memory, and read-only.

    Args:
        table: the table.
        name: the dataset's name.
        is_inferred: whether `dataset.memory` is null in its config. The run's config keeps what it was, since
            the order of the rows depends on it.

    Raises:
        DataError: a file is missing or has another shape than the header says.
    """
    header, folder, schema = table.header, table.folder, table.header.schema
    shape = (table.rows,) if schema.classes else (table.rows, len(schema.targets))
    inputs = _mapped(folder / INPUTS, (table.rows, len(schema.features)), np.float32)
    targets = _mapped(folder / TARGETS, shape, np.int64 if schema.classes else np.float32)
    weights = _mapped(folder / WEIGHTS, (table.rows,), np.float32) if header.is_weighted else None
    splits = {
        name: Split(inputs, targets, slice(facts.start, facts.stop), weights)
        for name, facts in header.splits.items()
    }
    return Dataset(
        name=name,
        input_schema=schema,
        splits=splits,
        input_scaling=_affine(header.input_scaling),
        target_scaling=_affine(header.target_scaling),
        remarks=header.remarks,
        inferred={**header.inferred, **({"memory": table.memory} if is_inferred else {})},
        disk=table,
    )


def _affine(scaling: tuple[Numbers, Numbers] | None) -> Affine | None:
    return None if scaling is None else Affine(*(torch.tensor(part, dtype=torch.float32) for part in scaling))


def _mapped(path: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> Tensor:
    try:
        array: NDArray[Any] = read_npy(path)
    except DataError:
        raise _damaged(path.parent) from None
    if array.shape != shape or array.dtype != dtype:
        raise _damaged(path.parent)
    return read_only_tensor(array)


def read_only_tensor(array: NDArray[Any]) -> Tensor:
    """Return a tensor of an array that must not be written to; torch warns of it."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.from_numpy(array)


def _damaged(folder: Path) -> DataError:
    return DataError(f"{folder}: a damaged table of an older run; remove it with mlpkit clean --cache --yes")
