"""Reads rows with targets for `evaluate`: a table, arrays, or a folder of pictures for each class."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mlpkit.config.dataset import DatasetConfig
from mlpkit.config.problems import spell
from mlpkit.data.array_values import read_targets, read_weights
from mlpkit.data.arrays import INPUTS, TARGETS, Array, as_inputs, read_npz
from mlpkit.data.dataset import Split
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.inputs import Inputs, ReadOptions, Warn, as_pixels, check_options, read_pictures
from mlpkit.data.picture_folder import list_pictures
from mlpkit.data.pictures import SUFFIXES as PICTURES
from mlpkit.data.raw_portions import read_raw
from mlpkit.data.tables import listed
from mlpkit.errors import DataError
from mlpkit.system.paths import expand


def read_labelled(
    source: str,
    input_schema: InputSchema,
    config: DatasetConfig,
    options: ReadOptions,
    warn: Warn,
) -> Iterator[Split]:
    """Yield the rows of a file or a folder, with their targets: a table portion by portion, others at once.

    Args:
        source: a table, a .npz, a folder with a folder for each class, or `-` for a table on stdin.
        input_schema: the model's input schema.
        config: the config of the dataset that the model was trained on.
        options: the user's options.
        warn: is called with each warning.

    Raises:
        ConfigError: an option does not fit the input.
        DataError: the input cannot be read, has no targets, or does not fit the model.
    """
    options.check(input_schema)
    path = expand(source)
    yield from _read(source, path, input_schema, config, options, warn)
    if source != "-" and path.resolve() in [Path(trained).resolve() for trained in config.paths()]:
        warn(
            f"{path}: the model was trained on rows of it, so these scores are too good; score other rows, "
            "or the test split: leave --input out"
        )


def _read(
    source: str,
    path: Path,
    input_schema: InputSchema,
    config: DatasetConfig,
    options: ReadOptions,
    warn: Warn,
) -> Iterator[Split]:
    suffix = path.suffix.lower()
    is_folder = source != "-" and path.is_dir()
    if is_folder or suffix in (".npz", ".npy", *PICTURES):
        check_options(path, options)
    if is_folder:
        yield _from_folder(path, input_schema, options, warn)
    elif suffix in PICTURES:
        raise DataError(
            f"{path}: a picture does not say its class; name a folder that holds a folder for each class"
        )
    elif suffix in (".npz", ".npy"):
        rows = _from_arrays(path, input_schema, options, warn, config.array_names())
        yield replace(rows, all_weights=_weights(path, config.weight_name(), len(rows), warn))
    else:
        for found in read_raw(source, input_schema, config, options, with_targets=True, warn=warn):
            assert found.targets is not None
            yield Split(found.values, found.targets, all_weights=found.weights)


def _from_folder(folder: Path, input_schema: InputSchema, options: ReadOptions, warn: Warn) -> Split:
    classes = input_schema.classes
    if not input_schema.is_image or not classes:
        wanted = (
            "pictures, but has no classes"
            if input_schema.is_image
            else f"the columns {listed(input_schema.columns)}"
        )
        raise DataError(f"{folder}: a folder, but the model reads {wanted}; name a file")
    if not any(entry.is_dir() for entry in folder.iterdir()):
        raise DataError(
            f"{folder}: no folder in it; put the pictures of each class ({listed(classes)}) into a folder "
            "of its own"
        )
    listing = list_pictures(folder, classes)
    if listing.splits is not None:
        raise DataError(f"{folder}: holds {', '.join(listing.splits)}; name one of them")
    found = read_pictures([entry.path for entry in listing.entries], folder, input_schema, warn)
    pixels = as_pixels(found, str(folder), input_schema, options, warn).values
    return Split(pixels, torch.tensor(listing.labels))


def _from_arrays(
    path: Path,
    input_schema: InputSchema,
    options: ReadOptions,
    warn: Warn,
    names: tuple[str | None, str | None],
) -> Split:
    if path.suffix.lower() == ".npy":
        raise DataError(f"{path}: a .npy holds only the inputs; save both with numpy.savez(FILE, X=…, y=…)")
    found = dict(zip(*read_npz(path), strict=True))
    inputs, inputs_name = _array(found, path, names[0], INPUTS)
    targets, targets_name = _array(found, path, names[1], TARGETS)
    values = as_inputs(inputs, inputs_name, input_schema, options.max_pixel)
    values = as_pixels(Inputs(values), str(path), input_schema, options, warn).values
    if targets.ndim == 0 or len(targets) != len(values):
        rows = len(targets) if targets.ndim else 0
        raise DataError(
            f"{targets_name}: {rows:,} rows, but {inputs_name} has {len(values):,}; save one target for "
            "each row"
        )
    return Split(values, _encoded(targets, targets_name, input_schema))


def _weights(path: Path, name: str | None, rows: int, warn: Warn) -> Tensor | None:
    """Return the weights of the rows of a .npz, or None."""
    if name is None:
        return None
    found, source = dict(zip(*read_npz(path), strict=True)), f"{path}: {name}"
    if name not in found:
        warn(f"{path}: no array {spell(name)}, so all rows count the same in the loss")
        return None
    if found[name].shape != (rows,):
        raise DataError(f"{source}: has shape {found[name].shape}; save one weight for each of {rows:,} rows")
    return torch.from_numpy(read_weights([(found[name], source)]))


def _array(
    found: dict[str, Array], path: Path, wanted: str | None, usual: Sequence[str]
) -> tuple[Array, str]:
    """Return the array of inputs or targets, and its name in errors."""
    matches = [wanted] if wanted in found else [name for name in usual if name in found]
    if len(matches) != 1:
        problem = (
            f"{listed(matches)} could all be meant" if matches else f"no array {spell(wanted or usual[1])}"
        )
        raise DataError(
            f"{path}: {problem}; it has {listed(found)}, but needs one array of inputs and one of targets, "
            "as numpy.savez(FILE, X=…, y=…) writes them"
        )
    return found[matches[0]], f"{path}: {matches[0]}"


def _encoded(targets: Array, source: str, input_schema: InputSchema) -> Tensor:
    """Encode targets as in training: labels of the model's classes, or numbers."""
    if not input_schema.classes and targets.dtype.kind in "biu":
        targets = targets.astype(np.float64)
    found = read_targets([(targets, source)], input_schema.classes or None, names_are_given=False)
    width = found.values.shape[1] if found.values.ndim == 2 else 0
    if found.classes != input_schema.classes or width not in (0, len(input_schema.targets)):
        wanted = f"labels of {listed(input_schema.classes)}" if input_schema.classes else "numbers"
        raise DataError(
            f"{source}: {spell(str(targets.dtype))} of shape {targets.shape}, the model predicts {wanted} "
            f"for {listed(input_schema.targets)}; save such targets"
        )
    return torch.from_numpy(found.values)
