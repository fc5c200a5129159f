"""Reads picture files: pixels as bytes, in grey or colour, resized where needed."""

import io
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
    """Properties of a picture file before it is converted to pixels.

    Attributes:
        size: height and width.
        is_grey: whether it has no colours.
        has_alpha: whether it has transparency, which is ignored.
    """

    size: Size
    is_grey: bool
    has_alpha: bool


class NamedBytes(io.BytesIO):
    """A picture file in memory, with a name for errors."""

    def __init__(self, content: bytes, name: str) -> None:
        """Take the bytes of the file."""
        super().__init__(content)
        self._name = name

    def __str__(self) -> str:
        """Return the name."""
        return self._name


@contextmanager
def open_picture(path: "Path | NamedBytes", wanted: str = "") -> "Iterator[Image]":
    """Open a picture, turned upright. Exceptions of Pillow become a DataError, also later in the block.

    Args:
        path: the file, which may be in memory.
        wanted: what the model reads, for the error.

    Raises:
        DataError: the file cannot be read, is damaged or not a picture, or has far too many pixels.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of unusual palettes and metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as picture:
                # Cameras store the orientation as EXIF metadata and leave the pixels unrotated.
                yield ImageOps.exif_transpose(picture) if "exif" in picture.info else picture
    except MlpkitError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        wanted = f", {wanted}" if wanted else ""
        raise DataError(f"{path}: far too many pixels{wanted}; resize it") from None
    except Exception as error:  # Pillow raises many kinds of exceptions on damaged files
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from None
        raise DataError(f"{path}: not a {KINDS}, or a damaged one; save it again") from None


def picture_info(picture: "Image", path: "Path | NamedBytes") -> PictureInfo:
    """Return the properties of a picture.

    Raises:
        DataError: its channels have more than 8 bits.
    """
    if picture.mode not in MODES:
        raise DataError(f"{path}: mode {picture.mode}; save it with 8 bits for each channel, as grey or RGB")
    has_alpha = picture.mode in ("LA", "RGBA") or "transparency" in picture.info
    return PictureInfo((picture.height, picture.width), picture.mode in GREY, has_alpha)


def to_bytes(picture: "Image", channels: int, size: Size) -> NDArray[np.uint8]:
    """Return the pixels (channels, height, width) of a picture, resized as by torchvision."""
    from PIL import Image

    picture = picture.convert("L" if channels == 1 else "RGB")
    height, width = size
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def read_picture(path: "Path | NamedBytes", input_schema: InputSchema) -> tuple[Tensor, PictureInfo]:
    """Return the pixels (features,) of a picture to predict, from 0 to 1, and the picture's properties.

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
    """Return lines that say how many pictures were resized, converted to grey or transparent."""
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
        about: the file's status; for a link, that of its target.
    """

    path: Path
    about: os.stat_result


MOST_ENTRIES = 2_000_000  # in a folder and its subfolders


def files_in(folder: Path) -> list[FileEntry]:
    """Return the files of a folder and its subfolders, sorted; hidden ones are left out.

    Raises:
        DataError: a folder cannot be read, contains itself through a link, or has too many files.
    """
    found: list[FileEntry] = []
    left: list[tuple[Path, tuple[tuple[int, int], ...]]] = [(folder, ())]
    try:
        while left:
            path, around = left.pop()
            about = path.stat()
            here = (about.st_dev, about.st_ino)
            if here in around:
                raise DataError(f"{path}: a link to a folder that contains it; remove it")
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
    """Whether a file's extension is that of a picture."""
    return path.suffix.lower() in SUFFIXES
