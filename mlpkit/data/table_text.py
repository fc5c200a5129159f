"""The text of a table as a stream of UTF-8, decompressed and decoded; it can be opened several times."""

import codecs
import io
import os
import sys
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow

from mlpkit.config.problems import show
from mlpkit.data.table_format import CODECS
from mlpkit.errors import ConfigError, DataError

BLOCK = 1 << 20  # bytes that are read at once
MAX_EXPANSION = 100  # largest ratio of decompressed to compressed size; real tables stay below
FREE_EXPANSION = 64 << 20  # decompressed bytes that are always allowed

_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_STARTS = {
    b"\x1f\x8b": "compressed with gzip; name it .csv.gz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; name it .csv.zst",
    b"PAR1": "a parquet file; name it .parquet",
    b"ARROW1": "an arrow file; name it .arrow",
    b"PK\x03\x04": "a zip archive or an Excel book; unpack it, or name it .xlsx",
    b"\x93NUMPY": "a NumPy array; save it as csv or parquet",
    b"<!DOCTYPE": "a web page; download the table itself",
    b"<html": "a web page; download the table itself",
}


class NotUtf8Error(DataError):
    """The text is not UTF-8.

    Attributes:
        was_utf8: whether non-ASCII characters before the error were valid UTF-8; then the text is damaged
            rather than in another encoding.
    """

    def __init__(self, problem: str, was_utf8: bool) -> None:
        """Store the message."""
        super().__init__(problem)
        self.was_utf8 = was_utf8


def open_file(path: Path) -> pyarrow.OSFile:
    """Open a file for pyarrow, which takes names that are not UTF-8 as bytes only."""
    return pyarrow.OSFile(os.fsencode(path))


@dataclass(frozen=True)
class TableText:
    """The source of a table's text: a file, or text in memory.

    Attributes:
        name: the name of the text in errors.
        path: the file; None if the text is in memory.
        content: the text in memory, from stdin or converted from another format.
    """

    name: str
    path: Path | None = None
    content: bytes = b""

    def open(self, encoding: str = "utf-8") -> "Utf8Stream":
        """Open the text as a stream. Its `read` raises a DataError if the content is not text.

        Raises:
            ConfigError: there is no such encoding.
        """
        return Utf8Stream(self, encoding)

    def unpacked(self) -> tuple[pyarrow.NativeFile, int | None]:
        """Return a stream of the decompressed bytes, and the largest allowed size; None: no limit."""
        if self.path is None:
            return pyarrow.BufferReader(self.content), None
        file = open_file(self.path)
        codec = CODECS.get(self.path.suffix.lower())
        if codec is None:
            return file, None
        return pyarrow.CompressedInputStream(file, codec), file.size() * MAX_EXPANSION + FREE_EXPANSION

    def encoding(self) -> str:
        """Return the encoding of the byte order mark, or UTF-8 if there is none.

        Raises:
            DataError: the first bytes are those of another kind of file.
        """
        source, _ = self.unpacked()
        with source:
            start = _read(source, 16, self.name)
        if what := what_begins(start):
            raise DataError(f"{self.name}: {what}")
        return next((name for bom, name in _BOMS.items() if start.startswith(bom)), "utf-8")


def what_begins(start: bytes) -> str | None:
    """Return what a file is that begins with these bytes, and what to do with it; None if it is not known."""
    return next((what for sign, what in _STARTS.items() if start.startswith(sign)), None)


def from_stdin() -> TableText:
    """Return the text on stdin. It is kept in memory, since it is read more than once."""
    return TableText("stdin", content=_content(sys.stdin.buffer))


@lru_cache(maxsize=1)
def _content(stream: BinaryIO) -> bytes:
    return stream.read()


def _read(source: pyarrow.NativeFile, count: int, name: str) -> bytes:
    try:
        return bytes(source.read(count))
    except OSError:
        problem = "damaged, cut off or not compressed"
        raise DataError(f"{name}: {problem}; download or compress it again") from None


class Utf8Stream(io.RawIOBase):
    """A text as UTF-8 bytes without a byte order mark. Each block is validated as it is read.

    Attributes:
        quotes: the number of double quotes read so far; if it is odd at the end, a quote is not closed.
    """

    def __init__(self, text: TableText, encoding: str) -> None:
        """Open the text.

        Raises:
            ConfigError: there is no such encoding.
        """
        # Python calls `close` after an error here too.
        self._lock, self._source = threading.Lock(), pyarrow.BufferReader(b"")
        try:
            "".encode(encoding)
            self._is_utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
            self._decoder = codecs.getincrementaldecoder("utf-8" if self._is_utf8 else encoding)()
        except (LookupError, ValueError):
            raise ConfigError(
                f"dataset.encoding={show(encoding)}: no such encoding; common are utf-8, cp1252 and utf-16"
            ) from None
        self._name, self._encoding = text.name, encoding
        self._source, self._most = text.unpacked()
        self._bytes_read, self._line, self._was_utf8, self._at_end = 0, 1, False, False
        self._buffered = memoryview(b"")
        self.quotes = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read bytes into a buffer, and return their number."""
        with self._lock:
            while not self._buffered and not self._at_end:
                self._buffered = memoryview(self._next_block())
            count = min(len(buffer), len(self._buffered))
            buffer[:count] = self._buffered[:count]
            self._buffered = self._buffered[count:]
            return count

    def close(self) -> None:
        """Close the file. pyarrow's threads, which read ahead, then reach the end."""
        with self._lock:
            self._buffered, self._at_end = memoryview(b""), True
            self._source.close()
        super().close()

    def _next_block(self) -> bytes:
        """Return the next block, decompressed, validated and as UTF-8; empty at the end."""
        block = _read(self._source, BLOCK, self._name)
        if self._bytes_read == 0:
            block = block.removeprefix(codecs.BOM_UTF8) if self._is_utf8 else block
        self._bytes_read += len(block)
        self._at_end = not block
        if self._most is not None and self._bytes_read > self._most:
            raise DataError(
                f"{self._name}: unpacks to more than {MAX_EXPANSION} times its size; "
                "if it is a real table, unpack it first"
            )
        # Blocks of ASCII need no decoding, unless the decoder holds a part of a character.
        if not (self._is_utf8 and block and block.isascii() and not self._decoder.getstate()[0]):
            block = self._decode(block)
        if (place := block.find(b"\0")) >= 0:
            location = self._locate(block, place)
            raise DataError(f"{location}: a NUL byte, which is not text; remove it or set dataset.encoding")
        self._line += block.count(b"\n")
        self.quotes += block.count(b'"')
        return block

    def _decode(self, block: bytes) -> bytes:
        try:
            text = self._decoder.decode(block, self._at_end)
        except UnicodeError as error:
            place = error.start if isinstance(error, UnicodeDecodeError) else 0
            location = self._locate(block, place)
            problem = f"{location}: not {self._encoding}; save it as UTF-8 or set dataset.encoding"
            raise NotUtf8Error(problem, self._was_utf8 or not block[:place].isascii()) from None
        self._was_utf8 |= not text.isascii()
        return text.encode("utf-8", "replace")

    def _locate(self, block: bytes, place: int) -> str:
        line = self._line + block.count(b"\n", 0, place)
        return f"{self._name}:{line}"
