"""Finds out what an input is, and reads it: a table, arrays, a picture, a folder of pictures, or stdin."""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mlpkit.data.dataset import Signature
from mlpkit.data.tables import read_arrays, read_text
from mlpkit.errors import DataError

PICTURES = (".png", ".jpg", ".jpeg")
TEXTS = {".csv": "csv", ".json": "json", ".jsonl": "jsonl"}
ARRAYS = (".npy", ".npz")


@dataclass(frozen=True)
class Inputs:
    """Rows to predict.

    Attributes:
        values: (rows, features), raw.
        names: the file of each row, for pictures.
    """

    values: Tensor
    names: tuple[str, ...] = ()


def read_inputs(source: str, signature: Signature) -> Inputs:
    """Return the rows of a file, a folder of pictures, or stdin (`-`).

    Raises:
        DataError: it cannot be read, or does not fit the model.
    """
    if source == "-":
        content = sys.stdin.buffer.read()
        text = _decode(content, "stdin")
        start = text.lstrip()[:1]
        kind = "csv" if start not in ("[", "{") else _json_kind(text)
        return Inputs(read_text(text, "stdin", kind, signature))
    path = Path(source)
    if path.is_dir():
        return _read_folder(path, signature)
    if not path.is_file():
        raise DataError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
    suffix = path.suffix.lower()
    if suffix in PICTURES:
        return Inputs(read_picture(path, signature).unsqueeze(0), (path.name,))
    if suffix in ARRAYS:
        return Inputs(read_arrays(path, signature))
    if suffix not in TEXTS:
        known = ", ".join([*TEXTS, *ARRAYS, *PICTURES])
        raise DataError(f"{path}: unknown kind of file {suffix or '(no ending)'!r}; known are {known}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    return Inputs(read_text(_decode(content, str(path)), str(path), TEXTS[suffix], signature))


def parse_values(texts: list[str], signature: Signature) -> Inputs:
    """Return the rows of `--values`, each a comma-separated list in the order of the features."""
    for text in texts:
        count = len(text.split(","))
        if count != len(signature.features):
            shown = ",".join(signature.features[:4]) + (",…" if len(signature.features) > 4 else "")
            raise DataError(
                f"--values={text}: {count} values, the model reads {len(signature.features)}: {shown}"
            )
    header = ",".join(f'"{name}"' for name in signature.features)
    return Inputs(read_text("\n".join([header, *texts]), "--values", "csv", signature))


def read_picture(path: Path, signature: Signature) -> Tensor:
    """Return the pixels (features,) of a grayscale picture, from 0 to 1."""
    from PIL import Image, UnidentifiedImageError

    if not signature.is_image:
        raise DataError(
            f"{path}: a picture, but the model reads the columns {', '.join(signature.features[:8])}"
        )
    height, width = signature.input_shape
    wanted = f"the model reads grayscale {width}×{height}"
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as picture:
            if picture.size != (width, height):
                raise DataError(f"{path}: {picture.width}×{picture.height} pixels, {wanted}; resize it")
            if picture.mode not in ("L", "1"):
                raise DataError(f"{path}: mode {picture.mode}, {wanted}; save it as 8-bit grayscale")
            pixels = picture.convert("L").tobytes()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: not a PNG or JPEG picture ({type(error).__name__})") from None
    return torch.frombuffer(bytearray(pixels), dtype=torch.uint8).float() / 255


def _read_folder(path: Path, signature: Signature) -> Inputs:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES)
    if not files:
        raise DataError(f"{path}: a folder without a {', '.join(PICTURES)} file")
    return Inputs(
        torch.stack([read_picture(file, signature) for file in files]), tuple(f.name for f in files)
    )


def _decode(content: bytes, source: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: not UTF-8 at byte {error.start}; save it as UTF-8 text") from None


def _json_kind(text: str) -> str:
    """Several lines that each begin an object or a list are jsonl."""
    lines = [line for line in text.splitlines() if line.strip()]
    whole = all(line.lstrip()[:1] in "[{" and line.rstrip()[-1:] in "]}" for line in lines)
    return "jsonl" if len(lines) > 1 and whole else "json"
