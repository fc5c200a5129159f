"""Reads files of pictures: their pixels as bytes, grey or in colour, resized where that is needed."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlpkit.data.input_schema import InputSchema
from mlpkit.data.tables import listed
from mlpkit.errors import DataError, MlpkitError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
FORMATS = ("PNG", "JPEG", "BMP", "WEBP")  # as Pillow calls them
KINDS = "PNG, JPEG, BMP or WebP picture"
GREY = ("1", "L", "LA")  # Pillow's modes
MODES = (*GREY, "P", "RGB", "RGBA", "CMYK", "YCbCr")  # with 8 bits for each channel

Size = tuple[int, int]  # height and width


@dataclass(frozen=True)
class PictureInfo:
    """What a picture is before it becomes pixels.

    Attributes:
        size: its height and width.
        is_grey: whether it is not in colour.
        has_alpha: whether it says how transparent its pixels are, which is left out.
    """

    size: Size
    is_grey: bool
    has_alpha: bool


@contextmanager
def open_picture(path: Path, wanted: str = "") -> "Iterator[Image]":
    """Open a picture, the right way up; whatever Pillow then raises on it is one line.

    Args:
        path: the file.
        wanted: what the model reads, for the error.

    Raises:
        DataError: it cannot be read, is no picture or a damaged one, or has far too many pixels.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd palettes and metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as picture:
                # A camera that is held upright writes so into the file, and does not turn the pixels.
                yield ImageOps.exif_transpose(picture) if "exif" in picture.info else picture
    except MlpkitError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        wanted = f", {wanted}" if wanted else ""
        raise DataError(f"{path}: far too many pixels{wanted}; resize it") from None
    except Exception as error:  # Pillow raises a dozen kinds on damaged files
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from None
        raise DataError(f"{path}: no {KINDS}, or a damaged one; save it again") from None


def picture_info(picture: "Image", path: Path) -> PictureInfo:
    """Return what a picture is.

    Raises:
        DataError: its channels have more than 8 bits.
    """
    if picture.mode not in MODES:
        raise DataError(f"{path}: mode {picture.mode}; save it with 8 bits for each channel, as grey or RGB")
    has_alpha = picture.mode in ("LA", "RGBA") or "transparency" in picture.info
    return PictureInfo((picture.height, picture.width), picture.mode in GREY, has_alpha)


def to_bytes(picture: "Image", channels: int, size: Size) -> NDArray[np.uint8]:
    """Return the pixels (channels, height, width) of a picture, resized as torchvision does it."""
    from PIL import Image

    picture = picture.convert("L" if channels == 1 else "RGB")
    height, width = size
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def read_picture(path: Path, input_schema: InputSchema) -> tuple[Tensor, PictureInfo]:
    """Return the pixels (features,) of a picture to predict, from 0 to 1, and what it was.

    Raises:
        DataError: it cannot be read, or the model does not read such pictures.
    """
    if not input_schema.is_image:
        raise DataError(
            f"{path}: a picture, but the model reads the columns {listed(input_schema.features)}; "
            "give a table"
        )
    channels, height, width = input_schema.picture_shape
    wanted = f"the model reads {'grayscale' if channels == 1 else 'RGB'} {width}×{height}"
    with open_picture(path, wanted) as picture:
        if input_schema.pictures is None:
            if picture.size != (width, height):
                raise DataError(f"{path}: {picture.width}×{picture.height} pixels, {wanted}; resize it")
            if picture.mode not in (("L", "1") if channels == 1 else ("RGB",)):
                way = "8-bit grayscale" if channels == 1 else "RGB"
                raise DataError(f"{path}: mode {picture.mode}, {wanted}; save it as {way}")
        info = picture_info(picture, path)
        pixels = to_bytes(picture, channels, (height, width))
    return torch.from_numpy(pixels.reshape(-1).copy()).float() / 255, info


def describe_changes(infos: list[PictureInfo], channels: int, size: Size) -> list[str]:
    """Return lines that say how many pictures of some were changed to become inputs, and how."""
    total = f"of {len(infos):,} pictures"
    lines = []
    if resized := sum(info.size != size for info in infos):
        lines.append(f"{resized:,} {total} resized to {size[0]}×{size[1]} (height × width)")
    if greyed := sum(channels == 1 and not info.is_grey for info in infos):
        lines.append(f"{greyed:,} {total} in colour, read as grey")
    if transparent := sum(info.has_alpha for info in infos):
        lines.append(f"{transparent:,} {total} with transparent pixels, whose colour is read as it is")
    return lines


@dataclass(frozen=True)
class FileEntry:
    """A file in a folder.

    Attributes:
        path: where it is.
        about: what the system knows of it; of a link, of what it leads to.
    """

    path: Path
    about: os.stat_result


MOST_ENTRIES = 2_000_000  # of a folder and the folders in it


def files_in(folder: Path) -> list[FileEntry]:
    """Return the files of a folder and of the folders in it, folder by folder; hidden ones are left out.

    Raises:
        DataError: a folder cannot be read, is in itself, or holds too many files.
    """
    found: list[FileEntry] = []
    left: list[tuple[Path, tuple[tuple[int, int], ...]]] = [(folder, ())]
    try:
        while left:
            path, around = left.pop()
            about = path.stat()
            here = (about.st_dev, about.st_ino)
            if here in around:
                raise DataError(f"{path}: a link to a folder that it lies in; remove it")
            for inside in path.iterdir():
                if inside.name.startswith("."):
                    continue
                about = inside.stat()
                if inside.is_dir():
                    left.append((inside, (*around, here)))
                else:
                    found.append(FileEntry(inside, about))
            if len(found) + len(left) > MOST_ENTRIES:
                raise DataError(f"{folder}: more than {MOST_ENTRIES:,} files; name a folder of pictures")
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from None
    return sorted(found, key=lambda entry: (str(entry.path.parent), entry.path.name))


def is_picture(path: Path) -> bool:
    """Whether a file is named as a picture."""
    return path.suffix.lower() in SUFFIXES
