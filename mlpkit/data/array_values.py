"""Interprets the arrays of a dataset: inputs (pictures or columns), targets (classes or numbers), weights."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlpkit.config.problems import show
from mlpkit.config.section import FLOAT32_MAX
from mlpkit.data.arrays import MOST_NUMBERS, Array, check_numbers
from mlpkit.data.input_schema import MOST_PIXELS
from mlpkit.data.tables import listed
from mlpkit.errors import ConfigError, DataError

MOST_COLUMNS = 50_000  # of inputs that are not pictures; each checkpoint holds their names
MOST_CLASSES = 1000

Named = tuple[Array, str]  # an array, and its name in errors


@dataclass(frozen=True)
class Inputs:
    """Inputs of all splits, concatenated.

    Attributes:
        values: (rows, features) float32.
        shape: shape of one input: (features,); for a picture (height, width) or (3, height, width).
        remarks: lines that say how they were read.
    """

    values: NDArray[np.float32]
    shape: tuple[int, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Targets:
    """Targets of all splits, concatenated.

    Attributes:
        task: the task that they ask for.
        values: (rows, targets) float32 for regression; (rows,) int64 labels otherwise.
        classes: names of the classes, by label.
        remarks: lines that say how they were read.
    """

    task: Literal["regression", "binary", "multiclass"]
    values: NDArray[Any]
    classes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def read_inputs(parts: Sequence[Named]) -> Inputs:
    """Concatenate the inputs of all splits; the first one is train.

    Raises:
        DataError: an array has values that are not finite numbers, too many values, or another shape
            than train's.
    """
    first, name = parts[0]
    for array, source in parts:
        check_numbers(array, source)
        if array.shape[1:] != first.shape[1:] or (array.dtype == np.uint8) != (first.dtype == np.uint8):
            raise DataError(
                f"{source}: rows are {array.shape[1:]} {array.dtype}, but those of {name} are "
                f"{first.shape[1:]} {first.dtype}; save them in the same way"
            )
    if 0 in first.shape:
        raise DataError(f"{name}: has shape {first.shape}; each row needs at least one number")
    if (numbers := sum(array.size for array, _ in parts)) > MOST_NUMBERS:
        raise DataError(f"{name}: {numbers:,} numbers, at most {MOST_NUMBERS:,}; take fewer rows or columns")
    arrays, remarks = [array for array, _ in parts], list[str]()
    shape: tuple[int, ...] = first.shape[1:]
    if len(shape) == 3 and shape[0] not in (1, 3) and shape[2] in (1, 3):
        arrays = [np.moveaxis(array, 3, 1) for array in arrays]
        shape = arrays[0].shape[1:]
        remarks.append(f"{name}: pictures with the channels last")
    if len(shape) == 3 and shape[0] == 1:
        shape = shape[1:]
    values = _float32([array.reshape(len(array), -1) for array in arrays])
    bad = ~np.isfinite(values)
    if bad.any():
        first_bad, column = np.unravel_index(bad.argmax(), bad.shape)
        source, row = _locate([len(array) for array in arrays], int(first_bad), [name for _, name in parts])
        raise DataError(
            f"{source}: row {row + 1}: value {column + 1} is not a finite float32; correct or remove it"
        )
    is_picture = len(shape) == 2 or (len(shape) == 3 and shape[0] == 3)
    low, high = (0.0, 255.0) if first.dtype == np.uint8 else (float(values.min()), float(values.max()))
    if is_picture and first.dtype == np.uint8:
        values /= 255
    elif is_picture and (low < 0 or high > 1):
        is_picture = False
        remarks.append(
            f"{name}: numbers from {low:g} to {high:g} are read as columns, not as pictures, which are uint8 "
            "or numbers from 0 to 1"
        )
    features, most = math.prod(shape), MOST_PIXELS if is_picture else MOST_COLUMNS
    if features > most:
        raise DataError(f"{name}: {features:,} numbers in a row, at most {most:,}; take fewer")
    return Inputs(values, shape if is_picture else (features,), tuple(remarks))


def read_targets(parts: Sequence[Named], names: tuple[str, ...] | None, names_are_given: bool) -> Targets:
    """Concatenate the targets of all splits; the first one is train.

    Args:
        parts: the array of each split.
        names: names of the classes, if they are known.
        names_are_given: whether the names come from the config, and not from a trained model.

    Raises:
        ConfigError: class names are given for a regression.
        DataError: the targets are neither classes nor finite numbers.
    """
    first, name = parts[0]
    arrays = []
    for array, source in parts:
        if _kind(array) != _kind(first) or array.shape[1:] != first.shape[1:]:
            raise DataError(
                f"{source}: {array.dtype} of shape {array.shape}, but {name} is {first.dtype} of shape "
                f"{first.shape}; save them in the same way"
            )
        flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
        arrays.append(flat.astype(np.int64) if _kind(array) == "i" else flat)
    kind, columns = first.dtype.kind, arrays[0].shape[1:]
    if kind not in "biuUSf" or len(columns) > (kind == "f"):
        way = (
            "give one label for each row, such as numpy.argmax(y, axis=1)"
            if kind in "biu"
            else ("save integers, strings or booleans for classes, and floats for a regression")
        )
        raise DataError(f"{name}: {show(str(first.dtype))} of shape {first.shape}; {way}")
    if kind == "f":
        if names_are_given:
            raise ConfigError(
                f"dataset.classes: {name} is {first.dtype}, for regression; save integers for classes"
            )
        return _numbers(arrays, [source for _, source in parts])
    return _classes(arrays, [source for _, source in parts], names, names_are_given)


def _kind(array: Array) -> str:
    """Return the dtype's kind; signed and unsigned integers count as one."""
    return "i" if array.dtype.kind == "u" else array.dtype.kind


def _float32(arrays: list[Array]) -> NDArray[np.float32]:
    """Concatenate arrays as float32; values that are too large become infinity."""
    with np.errstate(over="ignore"):
        return np.concatenate(arrays).astype(np.float32)


def _numbers(arrays: list[Array], sources: list[str]) -> Targets:
    found = _float32([array.reshape(len(array), -1) for array in arrays])
    if len(bad := np.flatnonzero(~np.isfinite(found).all(1))):
        source, row = _locate([len(array) for array in arrays], int(bad[0]), sources)
        raise DataError(f"{source}: row {row + 1}: not a finite float32; correct or remove the row")
    remark = f"{sources[0]}: {arrays[0].dtype}, read as a regression"
    if found.shape[1] > 1 and bool(np.isin(found, (0, 1)).all()) and bool((found.sum(1) == 1).all()):
        remark += (
            f" on {found.shape[1]} targets, each 0 or 1; numpy.argmax(y, axis=1) turns them into classes"
        )
    elif len(distinct := np.unique(found)) <= 20 and bool((distinct == np.round(distinct)).all()):
        remark += f" on {len(distinct)} different whole numbers; y.astype(int) turns them into classes"
    else:
        remark += f" on {found.shape[1]} targets" if found.shape[1] > 1 else ""
    return Targets("regression", found, remarks=(remark,))


def _classes(
    arrays: list[Array], sources: list[str], names: tuple[str, ...] | None, names_are_given: bool
) -> Targets:
    """Return labels. Values are matched to the class names; integers otherwise count as labels."""
    values = np.concatenate(arrays)
    found, places = np.unique(values, return_inverse=True)
    texts = [_text(value, sources[0]) for value in found.tolist()]
    train = set(np.unique(arrays[0]).tolist())
    if names is None:
        names = tuple(text for text, value in zip(texts, found.tolist(), strict=True) if value in train)
    if not 2 <= len(names) <= MOST_CLASSES:
        way = "; save y as floats for a regression" if len(names) > 2 else ""
        raise DataError(f"{sources[0]}: {len(names):,} classes; there must be 2 to {MOST_CLASSES:,}{way}")
    if len(set(names)) < len(names) or not all(0 < len(n) <= 200 and n.isprintable() for n in names):
        raise DataError(f"{sources[0]}: the classes {listed(names)} must be different, printable names")
    by_name = {name: label for label, name in enumerate(names)}
    are_integers = all(
        re.fullmatch("-?[0-9]+", name) for name in names
    )  # labels that a model has used as names
    if (
        arrays[0].dtype.kind in "US"
        or (are_integers and not names_are_given)
        or all(text in by_name for text in texts)
    ):
        labels = np.array([by_name.get(text, -1) for text in texts], np.int64)
    elif int(found.min()) >= 0 and int(found.max()) < len(names):
        labels = found.astype(np.int64)
    elif len(names) == len(found):
        labels = np.arange(len(found))
    else:
        labels = np.array([by_name.get(text, -1) for text in texts], np.int64)
    rows = labels[places.reshape(-1)]
    if len(bad := np.flatnonzero(rows < 0)):
        source, row = _locate([len(array) for array in arrays], int(bad[0]), sources)
        text = texts[int(places.reshape(-1)[bad[0]])]
        raise DataError(
            f"{source}: row {row + 1}: {show(text)} is not a class; the classes are {listed(names)}"
        )
    remark = f"{sources[0]}: {arrays[0].dtype}: {len(names)} classes ({listed(names)})"
    return Targets("binary" if len(names) == 2 else "multiclass", rows, names, (remark,))


def _text(value: object, source: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise DataError(f"{source}: {show(str(value))} is not UTF-8; save it as str") from None
    return str(value)


def _locate(lengths: Sequence[int], row: int, sources: Sequence[str]) -> tuple[str, int]:
    """Return the name of the array that a row of the concatenated arrays comes from, and its row there."""
    for length, source in zip(lengths, sources, strict=True):
        if row < length:
            return source, row
        row -= length
    raise IndexError(row)


def read_weights(parts: Sequence[Named]) -> NDArray[np.float32]:
    """Concatenate the weights (rows,) of all splits.

    Args:
        parts: the array of each split, with one number for each row.

    Raises:
        DataError: a weight is not a finite number or is negative, or all are 0.
    """
    for array, source in parts:
        check_numbers(array, source)
        weights = array.astype(np.float64)
        if len(bad := np.flatnonzero(~((weights >= 0) & (weights <= FLOAT32_MAX)))):
            row = int(bad[0])
            raise DataError(
                f"{source}: row {row + 1}: {weights[row]:g}: a weight must be a finite number of at least 0; "
                "correct it"
            )
    all_weights = np.concatenate([array for array, _ in parts]).astype(np.float32)
    if not all_weights.any():
        raise DataError(
            f"{parts[0][1]}: all weights are 0; name another array, or leave dataset.sample_weight out"
        )
    return all_weights
