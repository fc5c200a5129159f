"""Any bytes given as an IDX file, plain or gzipped, are read as they are, or refused in a line."""

import gzip
import struct
from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st

from fuzz.damage import damaged
from fuzz.refusal import taken
from mlpkit.data.idx import read_idx
from mlpkit.errors import DataError

SHAPES = ((2, 3), (28, 28), ())
IMAGES = b"\0\0\x08\x03" + struct.pack(">3I", 2, 2, 3) + bytes(range(12))
LABELS = b"\0\0\x08\x01" + struct.pack(">I", 5) + bytes(range(5))
SIZES = st.integers(0, 6) | st.sampled_from([28, 2**16, 2**28 - 1, 2**31, 2**32 - 1])


@st.composite
def made(draw: st.DrawFn) -> bytes:
    """Draw a file whose header may say anything."""
    kind, sizes = draw(st.sampled_from([8, 8, 8, 9, 13, 0, 255])), draw(st.lists(SIZES, max_size=5))
    head = bytes([0, 0, kind, draw(st.just(len(sizes)) | st.integers(0, 255))])
    return head + struct.pack(f">{len(sizes)}I", *sizes) + draw(st.binary(max_size=80))


plain = st.sampled_from((IMAGES, LABELS)).flatmap(damaged) | made() | st.binary()
zipped = plain.map(lambda content: gzip.compress(content, mtime=0))
twice = st.builds(bytes.__add__, zipped, zipped)


def check(path: Path, content: bytes, shape: tuple[int, ...]) -> None:
    """Check that the content is read as the bytes after its header, or refused."""
    path.write_bytes(content)
    values = taken(DataError, lambda: read_idx(path, shape))
    if values is None:
        return
    assert (values.dtype, values.shape[1:]) == (torch.uint8, shape)
    unpacked = gzip.decompress(content) if path.suffix == ".gz" else content
    assert values.numpy().tobytes() == unpacked[8 + 4 * len(shape) :]


@given(content=plain, shape=st.sampled_from(SHAPES))
def test_a_plain_file(content: bytes, shape: tuple[int, ...], tmp_path: Path) -> None:
    check(tmp_path / "file", content, shape)


@given(content=zipped | (zipped | twice).flatmap(damaged) | plain, shape=st.sampled_from(SHAPES))
def test_a_gzipped_file(content: bytes, shape: tuple[int, ...], tmp_path: Path) -> None:
    check(tmp_path / "file.gz", content, shape)
