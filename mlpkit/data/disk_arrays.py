"""Writes the arrays of a dataset to the disk as a table, where they are larger than memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpkit.config.dataset import DatasetConfig
from mlpkit.data.array_file import SplitArrays
from mlpkit.data.array_values import MOST_CLASSES, Inputs, Targets, read_inputs, read_targets, read_weights
from mlpkit.data.dataset import Dataset
from mlpkit.data.disk_build import DiskBuild
from mlpkit.data.disk_cache import cached_table, key_of
from mlpkit.data.disk_dataset import as_dataset
from mlpkit.data.disk_splits import DrawnSplits, random_parts
from mlpkit.data.disk_table import FORMAT, DiskTable, Header
from mlpkit.data.input_schema import InputSchema, OwnPictures, pixel_names

HEAD = 4096  # rows from which the shape of the inputs and the task are inferred
FEWEST = 1024  # rows that are read at once
LABELS = 1 << 20  # targets that are read at once

Labels = Callable[[NDArray[Any]], NDArray[Any]]  # raw targets -> float32 (rows, targets), or labels (rows,)


def size_of(parts: Mapping[str, SplitArrays]) -> int:
    """Return the bytes that the inputs of all splits take as float32."""
    return sum(part.inputs.size for part in parts.values()) * 4


def load_from_disk(
    config: DatasetConfig,
    parts: Mapping[str, SplitArrays],
    files: Sequence[str],
    names: tuple[str, ...] | None,
    trained: tuple[str, ...],
    memory: int,
    is_inferred: bool,
) -> Dataset:
    """Return the dataset of arrays from the cache of tables, and write it there first if it is not there.

    Args:
        config: see `write_arrays`.
        parts: likewise.
        files: those that the arrays are in.
        names: names of the classes from the config, or None.
        trained: names of the classes of a trained model; () if there are none.
        memory: `dataset.memory` in bytes.
        is_inferred: whether it is null in the config.

    Raises:
        ConfigError, DataError, WriteError: see `write_arrays`.
    """

    def table(known: tuple[str, ...] | None) -> DiskTable:
        write = partial(write_arrays, config, parts, known, names is not None, memory)
        return cached_table(key_of(config, [Path(file) for file in files], repr(known)), memory, write)

    found = table(names)
    if trained and names is None and found.header.schema.classes != trained:
        found = table(trained)
    return as_dataset(found, config.name, is_inferred)


def write_arrays(
    config: DatasetConfig,
    parts: Mapping[str, SplitArrays],
    names: tuple[str, ...] | None,
    names_are_given: bool,
    memory: int,
    folder: Path,
) -> Header:
    """Write arrays to the disk; read them once, some rows at a time.

    Args:
        config: sets the sizes of the splits that the arrays do not have, and whether columns are scaled.
        parts: the arrays of each split; those of train are split further.
        names: names of the classes, if they are known.
        names_are_given: whether they come from the config.
        memory: about how many bytes may be used.
        folder: an empty folder.

    Raises:
        ConfigError: a split that is asked for would be empty.
        DataError: the arrays cannot be used.
        WriteError: the table cannot be written.
    """
    targets = _Targets.of(parts, names, names_are_given)
    head = _read(parts["train"], 0, HEAD)
    drawn = _drawn(config, parts)
    sizes = {name: len(part) for splits in drawn.values() for name, part in splits.parts.items()}
    weights = {name: part.weights for name, part in parts.items() if part.weights is not None}
    read_weights([(array, parts[name].weights_name) for name, array in weights.items()]) if weights else None
    features = head.values.shape[1]
    example = targets.encode["train"](np.asarray(parts["train"].targets[:1]))
    build = DiskBuild(folder, sizes, features, example, len(targets.classes), bool(weights))
    try:
        rows = max(FEWEST, memory // 8 // (features * 4))
        for name, part in parts.items():
            for start in range(0, len(part.inputs), rows):
                stop = min(start + rows, len(part.inputs))
                values = targets.encode[name](np.asarray(part.targets[start:stop]))
                own = None if part.weights is None else part.weights[start:stop].astype(np.float32)
                build.add(drawn[name], start, _read(part, start, stop).values, values, own)
        build.flush()
    finally:
        build.close()
    is_picture = len(head.shape) > 1 and float(build.inputs.low.min()) >= 0 and build.inputs.high.max() <= 1
    shape = head.shape if is_picture else (features,)
    return Header(
        FORMAT,
        tuple(dict.fromkeys(part.inputs_name for part in parts.values())),
        InputSchema(
            targets.task,
            pixel_names(shape) if is_picture else numbered("x", features),
            shape,
            ("label",) if targets.classes else numbered("y", example.shape[1]),
            targets.classes,
            pictures=OwnPictures() if is_picture else None,
        ),
        build.block,
        build.facts(),
        tuple(build.inputs.low.tolist()),
        tuple(build.inputs.high.tolist()),
        build.checksum(config.seed, config.standardize, targets.classes),
        _scaling(build, shape) if config.standardize else None,
        _standard(build) if config.standardize and not targets.classes else None,
        bool(weights),
        (*(head.remarks if is_picture or len(head.shape) == 1 else ()), *targets.remarks),
    )


def numbered(letter: str, count: int) -> tuple[str, ...]:
    """Return names such as x1, x2, x3; the letter alone if there is only one."""
    return tuple(f"{letter}{number + 1}" for number in range(count)) if count > 1 else (letter,)


def _read(part: SplitArrays, start: int, stop: int) -> Inputs:
    where = f"{part.inputs_name} from row {start + 1:,} on" if start else part.inputs_name
    return read_inputs([(part.inputs[start:stop], where)])


def _drawn(config: DatasetConfig, parts: Mapping[str, SplitArrays]) -> dict[str, DrawnSplits]:
    """Return how the rows of each array are split: those of train further, if splits are lacking."""
    val, test = config.fractions()
    val, test = 0.0 if "val" in parts else val, 0.0 if "test" in parts else test
    found = {"train": DrawnSplits(random_parts(len(parts["train"].inputs), val, test), config.seed)}
    for name, part in parts.items():
        if name != "train":
            found[name] = DrawnSplits({name: range(len(part.inputs))}, config.seed, f"places of {name}")
    return found


@dataclass(frozen=True)
class _Targets:
    """How the targets are encoded.

    Attributes:
        task: the task that they ask for.
        classes: the names of the classes.
        encode: encodes targets of each split.
        remarks: lines that say how they were read.
    """

    task: Any
    classes: tuple[str, ...]
    encode: dict[str, Labels]
    remarks: tuple[str, ...]

    @staticmethod
    def of(
        parts: Mapping[str, SplitArrays], names: tuple[str, ...] | None, names_are_given: bool
    ) -> "_Targets":
        """Find out the task and the classes: from the first rows of a regression, else from all rows."""
        if parts["train"].targets.dtype.kind == "f" or parts["train"].targets.ndim > 2:
            first = [(part.targets[:HEAD], part.targets_name) for part in parts.values()]
            found = read_targets(first, names, names_are_given)

            def numbers(part: SplitArrays) -> Labels:
                return lambda values: read_targets([(values, part.targets_name)], None, False).values

            return _Targets(
                found.task, (), {name: numbers(part) for name, part in parts.items()}, found.remarks
            )
        values = {name: _distinct(part.targets) for name, part in parts.items()}
        found = read_targets(
            [(values[name], parts[name].targets_name) for name in parts], names, names_are_given
        )
        encode, start = {}, 0
        for name, known in values.items():
            encode[name] = _label_of(known, found.values[start : start + len(known)])
            start += len(known)
        return _Targets(found.task, found.classes, encode, _kept(found))


def _label_of(known: NDArray[Any], labels: NDArray[Any]) -> Labels:
    return lambda values: labels[np.searchsorted(known, values.reshape(len(values)))]


def _kept(found: Targets) -> tuple[str, ...]:
    return (*found.remarks, "rows are split at random, not by class")


def _distinct(targets: NDArray[Any]) -> NDArray[Any]:
    """Return the distinct values, in order; not all of them if they are too many for classes."""
    found = np.unique(targets[:LABELS])
    for start in range(LABELS, len(targets), LABELS):
        if len(found) > MOST_CLASSES:
            break
        found = np.unique(np.concatenate((found, np.unique(targets[start : start + LABELS]))))
    return found


def _scaling(build: DiskBuild, shape: tuple[int, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std of each input; for pictures those of its channel."""
    mean, std = build.inputs.mean, build.inputs.std
    if len(shape) > 1:
        pixels = shape[-1] * shape[-2]
        mean, std = (np.repeat(part, pixels) for part in build.inputs.pooled(len(mean) // pixels))
    return tuple(mean.tolist()), tuple(std.tolist())


def _standard(build: DiskBuild) -> tuple[tuple[float, ...], tuple[float, ...]]:
    moments = build.targets["train"]
    return tuple(moments.mean.tolist()), tuple(moments.std.tolist())
