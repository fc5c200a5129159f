"""IDX files are read as torchvision reads them; every damaged one gets one line that says what is wrong."""

import gzip
import os
import signal
import struct
import sys
import tracemalloc
import zlib

import pytest
import torch
from real_data import needs_real_data, real_data

from mlpkit.data.idx import read_idx
from mlpkit.errors import DataError


def header(*sizes, kind=8):
    return bytes([0, 0, kind, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)


IMAGES = header(2, 2, 3) + bytes(range(250, 256)) + bytes(range(6))  # two images of 2×3 pixels
LABELS = header(5) + bytes([3, 1, 4, 1, 9])


def write(path, content):
    """Write the content, compressed where the name says so."""
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def message_of(path, shape=(2, 3)):
    with pytest.raises(DataError) as error:
        read_idx(path, shape)
    return str(error.value)


@needs_real_data
@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
@pytest.mark.parametrize("split", ["train", "t10k"])
def test_equals_torchvision(name, split):
    from torchvision import datasets

    expected = getattr(datasets, name)(real_data(), train=split == "train", download=False)
    folder = real_data() / name / "raw"
    assert torch.equal(read_idx(folder / f"{split}-images-idx3-ubyte", (28, 28)), expected.data)
    assert torch.equal(read_idx(folder / f"{split}-labels-idx1-ubyte", ()).long(), expected.targets)


@needs_real_data
def test_a_gzipped_file_has_the_same_values(tmp_path):
    plain = real_data() / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    packed = tmp_path / "t10k-images-idx3-ubyte.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes(), compresslevel=1))
    assert torch.equal(read_idx(packed, (28, 28)), read_idx(plain, (28, 28)))


@pytest.mark.parametrize("name", ["file", "file.gz"])
def test_values_and_shapes(tmp_path, name):
    images = read_idx(write(tmp_path / name, IMAGES), (2, 3))
    assert images.dtype == torch.uint8
    assert images.tolist() == [[[250, 251, 252], [253, 254, 255]], [[0, 1, 2], [3, 4, 5]]]
    assert read_idx(write(tmp_path / name, LABELS), ()).tolist() == [3, 1, 4, 1, 9]


AGAIN = "; fetch the file again"
WRONG = [
    (b"", f"begins with nothing, an IDX file of 3 dimensions with 00000803{AGAIN}"),
    (b"\x00\x00", f"begins with 0000, an IDX file of 3 dimensions with 00000803{AGAIN}"),
    (b"<html>404</html>", f"begins with 3c68746d, an IDX file of 3 dimensions with 00000803{AGAIN}"),
    (LABELS, f"begins with 00000801, an IDX file of 3 dimensions with 00000803{AGAIN}"),
    (
        header(2, 2, 3, kind=13) + bytes(48),
        f"begins with 00000d03, an IDX file of 3 dimensions with 00000803{AGAIN}",
    ),
    (bytes(10**6), f"begins with 00000000, an IDX file of 3 dimensions with 00000803{AGAIN}"),
    (IMAGES[:4], f"ends inside its header{AGAIN}"),
    (IMAGES[:15], f"ends inside its header{AGAIN}"),
    (header(2, 3, 2) + bytes(12), "entries of 3×2, expected 2×3"),
    (header(2, 28, 28) + bytes(1568), "entries of 28×28, expected 2×3"),
    (header(0, 2, 3), f"its header declares 0 entries{AGAIN}"),
    (header(2**32 - 1, 2, 3), f"its header declares 4294967295 entries{AGAIN}"),
    (IMAGES[:16], f"has 0 of 12 bytes after its header{AGAIN}"),
    (IMAGES[:-1], f"has 11 of 12 bytes after its header{AGAIN}"),
    (IMAGES + b"\x00", f"has bytes left over after its header{AGAIN}"),
    (IMAGES + IMAGES, f"has bytes left over after its header{AGAIN}"),
]


@pytest.mark.parametrize("name", ["file", "file.gz"])
@pytest.mark.parametrize(("content", "problem"), WRONG, ids=[problem[:40] for _, problem in WRONG])
def test_a_wrong_file(tmp_path, content, problem, name):
    path = write(tmp_path / name, content)
    assert message_of(path) == f"{path}: {problem}"


def test_images_where_labels_should_be(tmp_path):
    path = write(tmp_path / "labels", IMAGES)
    assert message_of(path, ()) == (
        f"{path}: begins with 00000803, an IDX file of 1 dimensions with 00000801{AGAIN}"
    )


@pytest.fixture
def impatient():
    """Raise TimeoutError in what waits for five seconds, as for a FIFO that nobody writes to."""

    def give_up(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("impatient")
def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder.gz").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "fifo")
    for name in ("fifo", "folder.gz", "link", "missing"):
        path = tmp_path / name
        assert message_of(path) == f"{path}: not a regular file"


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file of /proc that opens and cannot be read")
def test_a_file_that_cannot_be_read(tmp_path):
    path = tmp_path / "unreadable"
    path.symlink_to("/proc/self/mem")
    assert message_of(path) == f"{path}: cannot be read (Input/output error)"


def bad_block():
    """Return a gzip file whose first deflate block has a type that does not exist, and zlib's words."""
    content = bytearray(gzip.compress(IMAGES))
    content[10] |= 0b110
    with pytest.raises(zlib.error) as error:
        zlib.decompress(bytes(content[10:]), wbits=-15)
    return bytes(content), str(error.value)


PACKED = gzip.compress(IMAGES)
CUT = "Compressed file ended before the end-of-stream marker was reached"
STORED, COMPUTED = 0x12345678, zlib.crc32(IMAGES)
DAMAGED = [
    (PACKED[:5], CUT),
    (PACKED[:-9], CUT),
    (PACKED[:-1], CUT),
    (IMAGES, "Not a gzipped file (b'\\x00\\x00')"),
    (PACKED + b"<html>", "Not a gzipped file (b'<h')"),
    (PACKED[:-8] + struct.pack("<I", STORED) + PACKED[-4:], f"CRC check failed {STORED:#x} != {COMPUTED:#x}"),
    (PACKED[:-4] + struct.pack("<I", 7), "Incorrect length of data produced"),
    bad_block(),
]


@pytest.mark.parametrize(("content", "reason"), DAMAGED, ids=[reason[:40] for _, reason in DAMAGED])
def test_a_damaged_gzip_file(tmp_path, content, reason):
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    assert message_of(path) == f"{path}: damaged gzip file ({reason}){AGAIN}"


@pytest.mark.parametrize("name", ["file", "file.gz"])
def test_cut_at_any_byte(tmp_path, name):
    path = write(tmp_path / name, IMAGES)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert message_of(path).startswith(f"{path}: ")


def test_any_flipped_bit_of_a_gzip_file_is_seen_or_harmless(tmp_path):
    path, refused = tmp_path / "images.gz", 0
    for bit in range(8 * len(PACKED)):
        content = bytearray(PACKED)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            assert read_idx(path, (2, 3)).flatten().tolist() == list(IMAGES[16:])
        except DataError as error:
            assert str(error).startswith(f"{path}: ")
            refused += 1
    assert refused > 6 * len(PACKED)  # of the header's ten bytes, time and system may be anything


GIGABYTE = 1 << 30


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        (10, "has bytes left over after its header"),
        (GIGABYTE // 784, f"its header declares {GIGABYTE // 784} entries"),
    ],
)
def test_a_gzip_bomb_is_refused_without_unpacking_it(tmp_path, declared, problem):
    path = tmp_path / "bomb.gz"
    member = gzip.compress(bytes(1 << 24), compresslevel=1)  # members of a gzip file follow each other
    path.write_bytes(gzip.compress(header(declared, 28, 28)) + member * (GIGABYTE >> 24))
    assert path.stat().st_size < 10_000_000
    tracemalloc.start()
    try:
        message = message_of(path, (28, 28))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert message == f"{path}: {problem}{AGAIN}"
    assert peak < 2_000_000
