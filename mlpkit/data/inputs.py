"""Finds out what an input is, and reads it: a table, arrays, a picture, a folder of pictures, or stdin."""

import json
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mlpkit.config.problems import spell
from mlpkit.data.arrays import read_arrays
from mlpkit.data.pixels import check_range, warn_of_odd
from mlpkit.data.signature import Signature
from mlpkit.data.tables import read_rows, read_text, some
from mlpkit.errors import ConfigError, DataError
from mlpkit.files.paths import expand

PICTURES = (".png", ".jpg", ".jpeg")
TEXTS = {".csv": "csv", ".json": "json", ".jsonl": "jsonl"}
ARRAYS = (".npy", ".npz")
STARTS = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x93NUMPY": "a NumPy array",
    b"PK\x03\x04": "an archive of NumPy arrays",
}


@dataclass(frozen=True)
class Reading:
    """How a user says that inputs are to be read.

    Attributes:
        has_header: whether the first line of a csv holds names; None where that is to be found out.
        brightest: the largest possible pixel; None: 255 of bytes and pictures, else 1.
        inverted: whether pictures are dark on light.
    """

    has_header: bool | None = None
    brightest: int | None = None
    inverted: bool = False

    def check(self, signature: Signature) -> None:
        """Refuse what is said of pixels where the model reads none.

        Raises:
            ConfigError: so it is.
        """
        if signature.is_image:
            return
        if self.brightest is not None or self.inverted:
            option = "--invert" if self.inverted else f"--pixels={self.brightest}"
            columns = some(signature.features)
            raise ConfigError(
                f"{option}: the model reads no pictures but the columns {columns}; leave it out"
            )


Warn = Callable[[str], None]


AS_FOUND = Reading()


@dataclass(frozen=True)
class Inputs:
    """Rows to predict.

    Attributes:
        values: (rows, features), raw.
        names: the file of each row, for pictures.
    """

    values: Tensor
    names: tuple[str, ...] = ()


def read_inputs(
    source: str, signature: Signature, reading: Reading = AS_FOUND, warn: Warn = lambda line: None
) -> Inputs:
    """Return the rows of a file, a folder of pictures, or stdin (`-`).

    Args:
        source: the file, the folder or `-`.
        signature: what the model reads.
        reading: what the user says of it.
        warn: is told of what seems odd.

    Raises:
        ConfigError: what the user says does not go with it.
        DataError: it cannot be read, or does not fit the model.
    """
    reading.check(signature)
    return _as_pixels(_read(source, signature, reading), source, signature, reading, warn)


def _as_pixels(found: Inputs, source: str, signature: Signature, reading: Reading, warn: Warn) -> Inputs:
    if not signature.is_image:
        return found
    check_range(found.values, source, reading.brightest)
    values = 1 - found.values if reading.inverted else found.values
    if not reading.inverted:
        warn_of_odd(values, signature.input_shape, source, warn)
    return replace(found, values=values)


def _read(source: str, signature: Signature, reading: Reading) -> Inputs:
    if source == "-":
        content = sys.stdin.buffer.read()
        if kind := next((kind for start, kind in STARTS.items() if content.startswith(start)), None):
            raise DataError(f"stdin: {kind}; tables are read from stdin, as text: name the file instead")
        text = _decode(content, "stdin")
        kind = _json_kind(text) if text.lstrip()[:1] in ("[", "{") else "csv"
        return _read_text(text, "stdin", kind, signature, reading)
    try:
        return _read_path(expand(source), signature, reading)
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror})") from None


def _read_text(text: str, source: str, kind: str, signature: Signature, reading: Reading) -> Inputs:
    values = read_text(text, source, kind, signature, reading.has_header)
    return Inputs(values / reading.brightest if reading.brightest else values)


def _read_path(path: Path, signature: Signature, reading: Reading) -> Inputs:
    suffix = path.suffix.lower()
    if reading.has_header is not None and suffix not in TEXTS:
        raise ConfigError(f"--{'' if reading.has_header else 'no-'}header: only for csv; leave it out")
    if reading.brightest is not None and (suffix in PICTURES or path.is_dir()):
        raise ConfigError(f"--pixels={reading.brightest}: only for tables and arrays; leave it out")
    if path.is_dir():
        return _read_folder(path, signature)
    if not path.is_file():
        problem = "not a regular file; - reads stdin" if path.exists() else "no such file"
        raise DataError(f"{path}: {problem}")
    if suffix in PICTURES:
        return Inputs(read_picture(path, signature).unsqueeze(0), (_name(path),))
    if suffix in ARRAYS:
        return Inputs(read_arrays(path, signature, reading.brightest))
    if suffix not in TEXTS:
        known = ", ".join([*TEXTS, *ARRAYS, *PICTURES])
        raise DataError(f"{path}: unknown kind of file {suffix or '(no ending)'!r}; known are {known}")
    text = _decode(path.read_bytes(), str(path))
    return _read_text(text, str(path), TEXTS[suffix], signature, reading)


def parse_values(
    texts: list[str], signature: Signature, reading: Reading = AS_FOUND, warn: Warn = lambda line: None
) -> Inputs:
    """Return the rows of `--values`, each a comma-separated list in the order of the features."""
    reading.check(signature)
    features = signature.features
    rows = [(f"--values={spell(text)}", text.split(",")) for text in texts]
    for where, row in rows:
        if len(row) != len(features):
            raise DataError(f"{where}: {len(row)} values, the model reads {len(features)}: {some(features)}")
    values = read_rows(rows, range(len(features)), signature, "--values")
    found = Inputs(values / reading.brightest if reading.brightest else values)
    return _as_pixels(found, "--values", signature, reading, warn)


def read_picture(path: Path, signature: Signature) -> Tensor:
    """Return the pixels (features,) of a grayscale picture, from 0 to 1."""
    from PIL import Image

    if not signature.is_image:
        raise DataError(
            f"{path}: a picture, but the model reads the columns {some(signature.features)}; give a table"
        )
    height, width = signature.input_shape
    wanted = f"the model reads grayscale {width}×{height}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(path, formats=("PNG", "JPEG"))
        with picture:
            if picture.size != (width, height):
                raise DataError(f"{path}: {picture.width}×{picture.height} pixels, {wanted}; resize it")
            if picture.mode not in ("L", "1"):
                raise DataError(f"{path}: mode {picture.mode}, {wanted}; save it as 8-bit grayscale")
            pixels = picture.convert("L").tobytes()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"{path}: far too many pixels, {wanted}; resize it") from None
    except (OSError, SyntaxError, ValueError):  # what Pillow raises on files that it cannot read
        raise DataError(f"{path}: no PNG or JPEG picture, or a damaged one; save it again") from None
    return torch.frombuffer(bytearray(pixels), dtype=torch.uint8).float() / 255


def _read_folder(path: Path, signature: Signature) -> Inputs:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES and file.is_file())
    if not files:
        raise DataError(f"{path}: a folder without a {', '.join(PICTURES)} file; put pictures into it")
    pixels = torch.stack([read_picture(file, signature) for file in files])
    return Inputs(pixels, tuple(_name(file) for file in files))


def _name(path: Path) -> str:
    """Return the name of a file as text that can be written, whatever bytes it is made of."""
    return os.fsencode(path.name).decode("utf-8", "backslashreplace")


def _decode(content: bytes, source: str) -> str:
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: not UTF-8 at byte {error.start}; save it as UTF-8 text") from None


def _json_kind(text: str) -> str:
    """Return jsonl where the first of several lines is whole."""
    first, *others = [line for line in text.split("\n") if line.strip()]
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return "json"
    return "jsonl" if others else "json"
