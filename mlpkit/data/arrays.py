"""Reads rows to predict from NumPy files: .npy and .npz."""

import math
import os
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlpkit.config.problems import spell
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.tables import LARGEST, match_columns
from mlpkit.errors import DataError

MOST_VALUES = 1 << 27  # of an array: 170,000 MNIST pictures
MOST_NUMBERS = 1 << 29  # of a dataset's inputs: three times CIFAR-10
MOST_BYTES = 1 << 30  # of an unpacked .npz

INPUTS = ("inputs", "X", "x", "images", "data")  # names of an array in a .npz
TARGETS = ("targets", "y", "Y", "target", "labels")
PICKLES = (".pt", ".pth", ".pkl", ".pickle")

Array = NDArray[np.generic]


def read_arrays(
    path: Path, input_schema: InputSchema, max_pixel: float | None = None, name: str | None = None
) -> Tensor:
    """Return the inputs (rows, features) in a .npy or .npz file.

    A .npz holds one array of all inputs (named as in training or as in INPUTS, or the only one), or one array
    for each column.

    Args:
        path: the file.
        input_schema: the model's columns.
        max_pixel: the largest possible pixel, by which pixels are divided; None: uint8 pixels are divided by
            255, others stay as they are.
        name: of the array of inputs in the training data; None: one of INPUTS.

    Raises:
        DataError: it is damaged or too large, holds no numbers, or does not fit the model.
    """
    with warnings.catch_warnings():
        # numpy warns of unusual headers and huge numbers; both are checked below.
        warnings.simplefilter("ignore")
        return _read(path, input_schema, max_pixel, (*filter(None, [name]), *INPUTS))


def _read(
    path: Path, input_schema: InputSchema, max_pixel: float | None, known_names: Sequence[str]
) -> Tensor:
    source = str(path)
    if path.suffix.lower() == ".npy":
        return as_inputs(read_npy(path), source, input_schema, max_pixel)
    names, arrays = read_npz(path)
    if not names:
        raise DataError(f"{source}: holds no array; save one with numpy.savez(file, inputs=…)")
    whole = [name for name in known_names if name in names and name not in input_schema.features]
    if whole or len(names) == 1:
        array = arrays[names.index(whole[0]) if whole else 0]
        return as_inputs(array, source, input_schema, max_pixel)
    columns = [arrays[index] for index in match_columns(names, input_schema, source)]
    if len({array.shape for array in arrays}) > 1 or columns[0].ndim != 1:
        raise DataError(f"{source}: its columns must be 1-dimensional arrays of the same length")
    for column in columns:
        check_numbers(column, source)
    return as_inputs(np.stack(columns, axis=1), source, input_schema, max_pixel)


def refuse_pickle(path: Path, name: str) -> None:
    """Refuse a pickle, which can run code when it is read.

    Args:
        path: the file.
        name: the name of the file in errors.

    Raises:
        DataError: its ending is that of a pickle.
    """
    if path.suffix.lower() in PICKLES:
        raise DataError(
            f"{name}: mlpkit reads no {path.suffix} file, since reading it can run code; save its arrays "
            "with numpy.savez(FILE, X=…, y=…)"
        )


def read_npy(path: Path) -> Array:
    """Return the array of a .npy file. It is memory-mapped, so a wrong header cannot take memory.

    Raises:
        DataError: it is damaged.
    """
    try:
        array: np.memmap = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # numpy raises many kinds of exceptions on a damaged file
        raise DataError(_damaged(path, error)) from None
    if array.offset + array.nbytes != path.stat().st_size:
        raise DataError(f"{path}: has bytes left over after its array; save the array again")
    return array


def read_npz(path: Path, memory: int | None = None) -> tuple[list[str], list[Array]]:
    """Return the names and the arrays of a .npz.

    Args:
        path: the file.
        memory: if the arrays take more bytes, those that are not compressed are memory-mapped, and their
            checksums are not checked. None: all are read.

    Raises:
        DataError: it is damaged, or what must be read is larger than MOST_BYTES when unpacked.
    """
    try:
        with ZipFile(path) as archive:
            members = archive.infolist()
            is_large = memory is not None and sum(member.file_size for member in members) > memory
            mapped = [_mapped(path, member) if is_large else None for member in members]
            size = sum(of.file_size for of, array in zip(members, mapped, strict=True) if array is None)
            if size > MOST_BYTES:
                raise DataError(f"{path}: {size} bytes when unpacked, at most {MOST_BYTES}; split it")
            arrays = [
                _read_member(archive, member) if array is None else array
                for member, array in zip(members, mapped, strict=True)
            ]
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many kinds of exceptions on a damaged file
        raise DataError(_damaged(path, error)) from None
    return [member.filename.removesuffix(".npy") for member in members], arrays


def _read_member(archive: ZipFile, member: ZipInfo) -> Array:
    with archive.open(member) as stream:
        array: Array = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def _mapped(path: Path, member: ZipInfo) -> Array | None:
    """Return an array that lies in the archive as it is, memory-mapped; None if it does not.

    Raises:
        ValueError: the member is damaged.
    """
    is_encrypted = member.flag_bits & 1
    if member.compress_type != ZIP_STORED or member.compress_size != member.file_size or is_encrypted:
        return None
    with path.open("rb") as stream:
        stream.seek(member.header_offset)
        signature, name, extra = struct.unpack("<4s22x2H", stream.read(30))  # and the lengths of what follows
        encoding = "utf-8" if member.flag_bits & 0x800 else "cp437"
        if signature != b"PK\3\4" or stream.read(name) != member.orig_filename.encode(encoding):
            raise ValueError(f"{member.filename} is not where it should be")
        start = stream.seek(extra, os.SEEK_CUR)
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read:
            return None
        shape, is_fortran, dtype = read[version](stream)
        offset = stream.tell()
    if dtype.hasobject or offset - start + math.prod(shape) * dtype.itemsize != member.file_size:
        raise ValueError(f"{member.filename} is not an array of numbers")
    order: Literal["C", "F"] = "F" if is_fortran else "C"
    return np.memmap(path, dtype, "r", offset, shape, order) if math.prod(shape) else None


def _damaged(path: Path, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return f"{path}: cannot be read ({error.strerror})"
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"{path}: not a readable array file ({reason[:80]}); save the arrays again"


def as_inputs(array: Array, source: str, input_schema: InputSchema, max_pixel: float | None) -> Tensor:
    """Return an array as the inputs (rows, features) of a model; see `read_arrays`.

    Raises:
        DataError: it does not fit the model.
    """
    features, shape = len(input_schema.features), input_schema.input_shape
    check_numbers(array, source)
    if array.shape == shape or (array.ndim == 1 and features == 1):
        array = array.reshape(-1, features)
    if len(shape) == 3 and array.shape[-3:] == (*shape[1:], shape[0]) != shape:
        array = np.moveaxis(array, -1, -3)  # channels last
        array = array.reshape(-1, features)
    fits = array.ndim >= 2 and math.prod(array.shape[1:]) == features
    if not fits or (len(shape) == 3 and array.shape[1:] not in ((features,), shape)):
        wanted = f"(rows, {features})"
        if input_schema.is_image:
            wanted += f" or (rows, {', '.join(map(str, shape))})"
        raise DataError(f"{source}: has shape {tuple(array.shape)}, the model reads {wanted}; reshape it")
    if len(array) == 0:
        raise DataError(f"{source}: no rows; give at least one")
    if array.size > MOST_VALUES:
        raise DataError(f"{source}: {array.size} values, at most {MOST_VALUES}; split it")
    # Image files store pixels as bytes; the model reads numbers from 0 to 1.
    is_bytes = input_schema.is_image and array.dtype == np.uint8
    scale = max_pixel or (255.0 if is_bytes else 1.0)
    values = array.reshape(len(array), features).astype(np.float64) / scale
    bad = np.argwhere(~(np.abs(values) <= LARGEST))
    if len(bad):
        row, column = bad[0]
        raise DataError(
            f"{source}: row {row + 1}: column {input_schema.features[column]}: {values[row, column]} "
            f"is not a finite float32 (at most {LARGEST})"
        )
    return torch.from_numpy(values).float()


def check_numbers(array: Array, source: str) -> None:
    """Refuse an array that does not hold numbers.

    Raises:
        DataError: its dtype is not numeric.
    """
    if array.dtype.kind not in "fiu":
        raise DataError(f"{source}: holds {spell(str(array.dtype))}, not numbers; convert it to float32")
