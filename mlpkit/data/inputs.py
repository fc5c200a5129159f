"""Reads --input, whatever it is: a table, arrays, a picture, a folder of pictures, or stdin."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlpkit.config.problems import plural, spell
from mlpkit.data.arrays import read_arrays, refuse_pickle
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.pictures import SUFFIXES as PICTURES
from mlpkit.data.pictures import NamedBytes, PictureInfo, describe_changes, files_in, is_picture, read_picture
from mlpkit.data.pixels import check_range, warn_of_unusual
from mlpkit.data.table_format import EXCEL, TYPED
from mlpkit.data.tables import listed, read_rows, read_text
from mlpkit.errors import ConfigError, DataError
from mlpkit.system.paths import expand, no_such_file

TEXTS = {".csv": "csv", ".json": "json", ".jsonl": "jsonl"}
ARRAYS = (".npy", ".npz")
STARTS = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x93NUMPY": "a NumPy array",
    b"BM": "a BMP picture",
    b"RIFF": "a WebP picture",
    b"PK\x03\x04": "an archive of NumPy arrays",
}


@dataclass(frozen=True)
class ReadOptions:
    """The user's options for reading inputs.

    Attributes:
        has_header: whether the first line of a csv holds names; None: inferred.
        max_pixel: the largest possible pixel; None: 255 for bytes and pictures, else 1.
        inverted: whether pictures are dark on light.
        inputs_name: name of the array of inputs in the training data's .npz; None: one of the usual names.
    """

    has_header: bool | None = None
    max_pixel: int | None = None
    inverted: bool = False
    inputs_name: str | None = None

    def check(self, input_schema: InputSchema) -> None:
        """Refuse options about pixels if the model does not read pictures.

        Raises:
            ConfigError: such an option is set.
        """
        if input_schema.is_image:
            return
        if self.max_pixel is not None or self.inverted:
            option = "--invert" if self.inverted else f"--pixels={self.max_pixel}"
            columns = listed(input_schema.features)
            raise ConfigError(
                f"{option}: the model does not read pictures, but the columns {columns}; leave it out"
            )


Warn = Callable[[str], None]


DEFAULT_OPTIONS = ReadOptions()


@dataclass(frozen=True)
class Inputs:
    """Rows to predict.

    Attributes:
        values: (rows, features), raw.
        names: for pictures, the file of each row.
        kept: raw columns to copy to the output, by name.
    """

    values: Tensor
    names: tuple[str, ...] = ()
    kept: dict[str, list[Any]] = field(default_factory=dict)


def read_inputs(
    source: str,
    input_schema: InputSchema,
    options: ReadOptions = DEFAULT_OPTIONS,
    warn: Warn = lambda line: None,
) -> Inputs:
    """Return the rows of a file, a folder of pictures, or stdin (`-`).

    Args:
        source: the file, the folder or `-`.
        input_schema: the model's input schema.
        options: the user's options.
        warn: is called with each warning.

    Raises:
        ConfigError: an option does not fit the input.
        DataError: the input cannot be read, or does not fit the model.
    """
    options.check(input_schema)
    return as_pixels(_read(source, input_schema, options, warn), source, input_schema, options, warn)


def as_pixels(
    inputs: Inputs, source: str, input_schema: InputSchema, options: ReadOptions, warn: Warn
) -> Inputs:
    """If the model reads pictures, check that pixels are from 0 to 1, and invert them where needed.

    Raises:
        DataError: a pixel is not from 0 to 1.
    """
    if not input_schema.is_image:
        return inputs
    check_range(inputs.values, source, options.max_pixel)
    own = input_schema.pictures
    # With --invert, dark and light are swapped compared to the training pictures.
    inverted = options.inverted != (own is not None and own.inverted)
    values = 1 - inputs.values if inverted else inputs.values
    if own is None and not inverted:
        warn_of_unusual(values, input_schema.input_shape, source, warn)
    return replace(inputs, values=values)


def _read(source: str, input_schema: InputSchema, options: ReadOptions, warn: Warn) -> Inputs:
    if source == "-":
        content = sys.stdin.buffer.read()
        if kind := next((kind for start, kind in STARTS.items() if content.startswith(start)), None):
            raise DataError(f"stdin: {kind}; tables are read from stdin, as text: name the file instead")
        return _read_content(content, "stdin", input_schema, options)
    try:
        return _read_path(expand(source), input_schema, options, warn)
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror})") from None


def read_content(
    content: bytes, source: str, input_schema: InputSchema, options: ReadOptions, warn: Warn
) -> Inputs:
    """Return the rows of a picture file, or of a table as JSON or csv; both in memory.

    Args:
        content: the bytes.
        source: how errors name them.
        input_schema: the model's input schema.
        options: the user's options.
        warn: is called with each warning.

    Raises:
        ConfigError: an option does not fit the input.
        DataError: the input cannot be read, or does not fit the model.
    """
    options.check(input_schema)
    if input_schema.is_image and content.startswith(tuple(STARTS)):
        pixels, info = read_picture(NamedBytes(content, source), input_schema)
        for line in describe_changes([info], input_schema.picture_shape[0], input_schema.picture_shape[1:]):
            warn(f"{source}: {line}")
        found = Inputs(pixels[None])
    else:
        found = _read_content(content, source, input_schema, options)
    return as_pixels(found, source, input_schema, options, warn)


def _read_content(content: bytes, source: str, input_schema: InputSchema, options: ReadOptions) -> Inputs:
    text = _decode(content, source)
    kind = _json_kind(text) if text.lstrip()[:1] in ("[", "{") else "csv"
    return _read_text(text, source, kind, input_schema, options)


def _read_text(text: str, source: str, kind: str, input_schema: InputSchema, options: ReadOptions) -> Inputs:
    values = read_text(text, source, kind, input_schema, options.has_header)
    return Inputs(values / options.max_pixel if options.max_pixel else values)


def check_options(path: Path, options: ReadOptions) -> None:
    """Refuse options that do not apply to the kind of file.

    Raises:
        ConfigError: such an option is set.
    """
    suffix = path.suffix.lower()
    if options.has_header is not None and suffix not in TEXTS:
        raise ConfigError(f"--{'' if options.has_header else 'no-'}header: only for csv; leave it out")
    if options.max_pixel is not None and (suffix in PICTURES or path.is_dir()):
        raise ConfigError(f"--pixels={options.max_pixel}: only for tables and arrays; leave it out")


def _read_path(path: Path, input_schema: InputSchema, options: ReadOptions, warn: Warn) -> Inputs:
    suffix = path.suffix.lower()
    check_options(path, options)
    if path.is_dir():
        files = [entry.path for entry in files_in(path) if is_picture(entry.path) and entry.path.is_file()]
        if not files:
            raise DataError(f"{path}: a folder without a {', '.join(PICTURES)} file; put pictures into it")
        return read_pictures(files, path, input_schema, warn)
    if not path.is_file():
        problem = "not a regular file; - reads stdin" if path.exists() else no_such_file(path)
        raise DataError(f"{path}: {problem}")
    if suffix in PICTURES:
        return read_pictures([path], path.parent, input_schema, warn)
    if suffix in ARRAYS:
        return Inputs(read_arrays(path, input_schema, options.max_pixel, options.inputs_name))
    refuse_pickle(path, str(path))
    if suffix not in TEXTS:
        known = ", ".join([*TEXTS, *ARRAYS, *PICTURES])
        more = "; a run on dataset=table reads it" if suffix in (*TYPED, *EXCEL) else ""
        raise DataError(f"{path}: unknown kind of file {suffix or '(no ending)'!r}; known are {known}{more}")
    text = _decode(path.read_bytes(), str(path))
    return _read_text(text, str(path), TEXTS[suffix], input_schema, options)


def parse_values(
    texts: list[str],
    input_schema: InputSchema,
    options: ReadOptions = DEFAULT_OPTIONS,
    warn: Warn = lambda line: None,
) -> Inputs:
    """Return the rows of `--values`, each a comma-separated list in the order of the features."""
    options.check(input_schema)
    features = input_schema.features
    rows = [(f"--values={spell(text)}", text.split(",")) for text in texts]
    for location, row in rows:
        if len(row) != len(features):
            raise DataError(
                f"{location}: {plural(len(row), 'value')}, the model reads {len(features)}: "
                f"{listed(features)}"
            )
    values = read_rows(rows, range(len(features)), input_schema, "--values")
    inputs = Inputs(values / options.max_pixel if options.max_pixel else values)
    return as_pixels(inputs, "--values", input_schema, options, warn)


def read_pictures(files: list[Path], folder: Path, input_schema: InputSchema, warn: Warn) -> Inputs:
    """Return a row for each picture, named by its path relative to the folder."""
    source = files[0] if len(files) == 1 else folder
    pixels: list[Tensor] = []
    infos: list[PictureInfo] = []
    for file in files:
        picture, info = read_picture(file, input_schema)
        pixels.append(picture)
        infos.append(info)
    channels, height, width = input_schema.picture_shape
    for line in describe_changes(infos, channels, (height, width)):
        warn(f"{source}: {line}")
    return Inputs(torch.stack(pixels), tuple(_name(file.relative_to(folder)) for file in files))


def _name(path: Path) -> str:
    """Return a path as valid Unicode; bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _decode(content: bytes, source: str) -> str:
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: not UTF-8 at byte {error.start}; save it as UTF-8 text") from None


def _json_kind(text: str) -> str:
    """Return jsonl if there are several lines and the first is valid JSON; else json."""
    first, *others = [line for line in text.split("\n") if line.strip()]
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return "json"
    return "jsonl" if others else "json"
