"""Reads IDX files, the format of MNIST.

Four bytes of magic (0, 0, type, number of dimensions), a big-endian 32-bit size for each dimension,
then the values. Only unsigned bytes (type 8) are read. Source: yann.lecun.com/exdb/mnist.

torchvision's reader is not used: it allocates memory before it checks the sizes, and does not say what is
wrong with a damaged file.
"""

import gzip
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

from mlpkit.errors import DataError

LARGEST = 1 << 28  # bytes of values; MNIST has 47 million


def read_idx(path: Path, shape: tuple[int, ...]) -> Tensor:
    """Return the values as uint8 (count, *shape).

    Args:
        path: the file, plain, or gzipped with the ending `.gz`.
        shape: the expected shape of one entry; () for labels.

    Raises:
        DataError: the file is not an IDX file of that shape, is truncated or damaged, or has bytes left over.
    """
    if not path.is_file():
        raise DataError(f"{path}: not a regular file")
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            head = stream.read(4 + 4 * (1 + len(shape)))
            expected = b"\x00\x00\x08" + bytes([1 + len(shape)])
            if head[:4] != expected:
                raise DataError(
                    f"{path}: begins with {head[:4].hex() or 'nothing'}, an IDX file of "
                    f"{1 + len(shape)} dimensions with {expected.hex()}; fetch the file again"
                )
            if len(head) < 4 + 4 * (1 + len(shape)):
                raise DataError(f"{path}: ends inside its header; fetch the file again")
            count, *found = struct.unpack(f">{1 + len(shape)}I", head[4:])
            if tuple(found) != shape:
                raise DataError(f"{path}: entries of {_shape_text(found)}, expected {_shape_text(shape)}")
            size = count * (shape[0] * shape[1] if shape else 1)
            if count == 0 or size > LARGEST:
                raise DataError(f"{path}: its header declares {count} entries; fetch the file again")
            # One byte more than the header declares shows whether bytes are left over.
            values = stream.read(size + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip file ({error}); fetch the file again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(values) != size:
        problem = f"has {len(values)} of {size} bytes" if len(values) < size else "has bytes left over"
        raise DataError(f"{path}: {problem} after its header; fetch the file again")
    return torch.frombuffer(bytearray(values), dtype=torch.uint8).reshape(count, *shape)


def _shape_text(shape: tuple[int, ...] | list[int]) -> str:
    return "×".join(str(size) for size in shape) or "one value"
