"""Reads and writes safetensors files, with Hugging Face's library.

A file is checked before the library opens it, since it may be foreign: the library accepts headers of 100 MB,
waits for the writer of a pipe, and reads dtypes that mlpkit does not use.
"""

import json
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from safetensors import SafetensorError, safe_open, serialize

from mlpkit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIX = ".safetensors"
LARGEST_HEADER = 1 << 20  # bytes; in a hostile header each takes a few hundred ns and 20 bytes of memory
FIELDS = {"dtype", "shape", "data_offsets"}  # of a tensor in the header; the library ignores others
DTYPES = ("F32", "F64", "I64")  # dtypes that mlpkit writes
MOST_AXES = 4  # those of an embedding's weights, and of the members that they are stacked for


@dataclass(frozen=True)
class Entry:
    """A tensor in the header of a file.

    Attributes:
        kind: dtype: F32, F64 or I64.
        shape: shape of the tensor.
    """

    kind: str
    shape: tuple[int, ...]


def encode(metadata: Mapping[str, str], tensors: Mapping[str, "NDArray[Any]"]) -> bytes:
    """Return the content of a file as bytes.

    Args:
        metadata: text by name. Use at most one name: the library writes several in random order, so that
            equal runs would give different bytes.
        tensors: contiguous arrays of float32, float64 or int64 by name.
    """
    if not tensors:  # a rule without weights, which is written without importing numpy
        return serialize({}, dict(metadata))
    from safetensors.numpy import save

    return save(dict(tensors), dict(metadata))


def read_metadata(path: Path) -> dict[str, str]:
    """Return a file's metadata, text by name, without reading tensors or importing numpy.

    Raises:
        DataError: it is not a regular file, cannot be read, or its header is too large or malformed.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path}: not a regular file")
        with path.open("rb") as stream:
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            text = stream.read(length) if 2 <= length <= LARGEST_HEADER else b""
        header = json.loads(text, object_pairs_hook=_without_duplicates)
    except FileNotFoundError:
        raise DataError(f"{path}: no such checkpoint") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):  # invalid JSON, or a path with a NUL byte
        header = None
    if path.suffix == SUFFIX and (len(start) < 8 or len(text) < length <= LARGEST_HEADER):
        raise _damaged(path)
    metadata = header.pop("__metadata__", None) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise DataError(f"{path}: not a checkpoint of mlpkit (a .safetensors file from a run folder)")
    if not all(isinstance(entry, dict) and entry.keys() == FIELDS for entry in header.values()):
        raise _damaged(path)
    return metadata


def _damaged(path: Path) -> DataError:
    return DataError(f"{path}: damaged (cut off, or its header is wrong); use another checkpoint")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a dict. Of duplicate names, the library might read the other value.

    Raises:
        ValueError: a name occurs twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("duplicate name")
    return found


class TensorFile:
    """A file open for reading. The header has been checked; tensors are read on demand.

    Attributes:
        metadata: text by name.
        entries: dtype and shape of each tensor by name.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            DataError: it is not a regular file, cannot be read, or is not a complete safetensors file.
        """
        self.path = path
        self.metadata = read_metadata(path)
        try:
            # With mmap, a file that is truncated while open would kill the process.
            self._file: Any = safe_open(path, framework="numpy", backend="pread")
        except (SafetensorError, OSError):
            raise _damaged(path) from None
        self.entries = self._entries()

    def _entries(self) -> dict[str, Entry]:
        found = {}
        for name in self._file.keys():  # noqa: SIM118
            about = self._file.get_slice(name)
            found[name] = Entry(about.get_dtype(), tuple(about.get_shape()))
            if found[name].kind not in DTYPES or len(found[name].shape) > MOST_AXES:
                raise _damaged(self.path)
        return found

    def read(self, name: str) -> "NDArray[Any]":
        """Return a tensor.

        Raises:
            DataError: the file has been truncated, or cannot be read.
        """
        try:
            array: NDArray[Any] = self._file.get_tensor(name)
            return array
        except (SafetensorError, OSError, ValueError):
            raise _damaged(self.path) from None

    def __enter__(self) -> Self:
        """Return the open file."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.__exit__(kind, error, trace)
