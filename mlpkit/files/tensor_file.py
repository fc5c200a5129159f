"""Reads and writes a safetensors file: a JSON header that names the tensors, then their bytes.

The format is Hugging Face's, and their library reads what is written here, as a test shows. It is
written here because their writer orders the header anew each time, so that equal runs would give
unequal files, and because a foreign file is read here through one descriptor, which nothing can
exchange on the way, with every size checked before memory is taken.
"""

import json
import math
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mlpkit.errors import DataError

LARGEST_HEADER = 1 << 20  # bytes; of a hostile one, each takes some hundred nanoseconds and 20 bytes
CHUNK = 1 << 20  # bytes that are read at once

WIDTHS = {"F32": 4, "F64": 8, "I64": 8}  # bytes of a value; mlpkit writes no other kind
CODES = {"F32": "f", "F64": "d", "I64": "q"}  # of the struct module


@dataclass(frozen=True)
class Entry:
    """A tensor of a file.

    Attributes:
        kind: F32, F64 or I64.
        shape: its sizes.
        start: its first byte, counted from the end of the header.
        stop: the byte after its last one.
    """

    kind: str
    shape: tuple[int, ...]
    start: int
    stop: int


def encode(metadata: Mapping[str, str], tensors: Mapping[str, tuple[str, tuple[int, ...], bytes]]) -> bytes:
    """Return the content of a file: equal arguments give equal bytes.

    Args:
        metadata: text by name.
        tensors: kind, shape and little-endian bytes by name.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    start, parts = 0, []
    # Wider values first, so that each tensor begins at a multiple of its width, as the format wants.
    for name in sorted(tensors, key=lambda name: (-WIDTHS[tensors[name][0]], name)):
        kind, shape, content = tensors[name]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": (start, start + len(content))}
        start += len(content)
        parts.append(content)
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


class TensorFile:
    """A file that is open for reading; its header has been checked, its tensors have not been read.

    Attributes:
        metadata: text by name.
        entries: tensors by name.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            DataError: it is not a regular file, cannot be read, or is no whole safetensors file.
        """
        self.path = path
        try:
            # Without NONBLOCK, opening a pipe would wait for its writer.
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
        except FileNotFoundError:
            raise DataError(f"{path}: no such checkpoint") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{path}: cannot be read ({reason})") from None
        try:
            self.metadata, self.entries, self._origin = self._header()
        except BaseException:
            self.close()
            raise

    def _header(self) -> tuple[dict[str, str], dict[str, Entry], int]:
        wrong = DataError(f"{self.path}: not a checkpoint of mlpkit (a .safetensors file from a run folder)")
        about = os.fstat(self._descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise DataError(f"{self.path}: not a regular file")
        start = self._bytes(0, 8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= LARGEST_HEADER:
            raise wrong
        text = self._bytes(8, length)
        if len(text) < length:
            raise wrong
        try:
            header = json.loads(text)
        except (ValueError, RecursionError):
            raise wrong from None
        metadata = header.pop("__metadata__", None) if isinstance(header, dict) else None
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise wrong
        damaged = DataError(
            f"{self.path}: damaged (its tensors do not fill the file); use another checkpoint"
        )
        try:
            entries = {name: _entry(value) for name, value in header.items()}
        except (KeyError, TypeError, ValueError):
            raise damaged from None
        end = 0
        for entry in sorted(entries.values(), key=lambda entry: (entry.start, entry.stop)):
            if entry.start != end:  # a gap or an overlap
                raise damaged
            end = entry.stop
        if 8 + length + end != about.st_size:
            raise damaged
        return metadata, entries, 8 + length

    def read(self, name: str) -> Iterator[bytes]:
        """Yield a tensor's bytes in parts.

        Raises:
            DataError: the file has become shorter, or cannot be read.
        """
        entry = self.entries[name]
        for start in range(entry.start, entry.stop, CHUNK):
            size = min(CHUNK, entry.stop - start)
            content = self._bytes(self._origin + start, size)
            if len(content) < size:
                raise DataError(f"{self.path}: damaged (it ends inside a tensor); use another checkpoint")
            yield content

    def values(self, name: str) -> Any:
        """Return a small tensor's values as nested lists, without torch."""
        entry, content = self.entries[name], b"".join(self.read(name))
        found: Any = [value for (value,) in struct.iter_unpack(f"<{CODES[entry.kind]}", content)]
        for size in reversed(entry.shape[1:]):
            found = [found[start : start + size] for start in range(0, len(found), size)]
        return found if entry.shape else found[0]

    def _bytes(self, start: int, size: int) -> bytes:
        try:
            return os.pread(self._descriptor, size, start)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror})") from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        """Return the open file."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()


def _entry(value: Mapping[str, Any]) -> Entry:
    """Return the entry that a header's value describes.

    Raises:
        KeyError, TypeError, ValueError: it describes none.
    """
    (start, stop), shape, kind = value["data_offsets"], tuple(value["shape"]), value["dtype"]
    sizes = (start, stop, *shape)
    if len(shape) > 2 or not all(type(size) is int and 0 <= size < 2**63 for size in sizes):
        raise ValueError(sizes)
    if stop - start != WIDTHS[kind] * math.prod(shape) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(value)
    return Entry(kind, shape, start, stop)
