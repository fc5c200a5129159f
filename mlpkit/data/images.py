"""Image datasets, and the IDX files of MNIST-like datasets."""

import contextlib
import math
import os
import socket
import sys
from http.client import HTTPException
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from mlpkit.config.dataset import IdxOptions, ImageOptions
from mlpkit.data.dataset import Dataset, Split
from mlpkit.data.idx import read_idx
from mlpkit.data.input_schema import InputSchema, OwnPictures, pixel_names
from mlpkit.data.scaling import Affine, channel_scaling
from mlpkit.data.splits import gather_splits, split_rows
from mlpkit.errors import DataError
from mlpkit.system.atomic_write import temporary_folder
from mlpkit.system.paths import cache_folder, expand

Divided = tuple[
    dict[str, Split], Tensor | None
]  # splits, and the order of the table's rows; see `Dataset.order`

DIGITS = tuple(str(digit) for digit in range(10))
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def load_idx(config: IdxOptions, folder: str, classes: tuple[str, ...], download: bool = True) -> Dataset:
    """Load a dataset of four IDX files, such as MNIST; pixels are float32 from 0 to 1.

    Args:
        config: the dataset's config.
        folder: the folder of its files, named as by torchvision.
        classes: names of the labels.
        download: fetch missing files where the config allows it.

    Raises:
        DataError: the files are missing and cannot be fetched, or are damaged.
    """
    return image_dataset(config, _idx_splits(config, folder, download), (28, 28), classes)


def image_dataset(
    config: ImageOptions,
    divided: Divided,
    shape: tuple[int, ...],
    classes: tuple[str, ...],
    pictures: OwnPictures | None = None,
    remarks: tuple[str, ...] = (),
) -> Dataset:
    """Return a dataset of images.

    Args:
        config: the dataset's config.
        divided: its splits, with flattened pixels as inputs, and the order of the table's rows; an order of
            None: it cannot be split again.
        shape: (height, width) of an image, or (3, height, width).
        classes: names of the labels.
        pictures: see `InputSchema`.
        remarks: see `Dataset`.
    """
    task: Literal["binary", "multiclass"] = "binary" if len(classes) == 2 else "multiclass"
    splits, order = divided
    return Dataset(
        name=config.name,
        input_schema=InputSchema(task, pixel_names(shape), shape, ("label",), classes, pictures=pictures),
        splits=splits,
        input_scaling=pixel_scaling(config, splits["train"].inputs, shape) if config.standardize else None,
        order=order,
        remarks=remarks,
    )


def pixel_scaling(config: ImageOptions, pixels: Tensor, shape: tuple[int, ...]) -> Affine:
    """Return mean and standard deviation for each pixel: the config's, or if null those of its channel."""
    width = math.prod(shape[-2:])
    channels = math.prod(shape) // width
    if config.mean is not None and config.std is not None:
        scaling = Affine(torch.full((channels,), config.mean), torch.full((channels,), config.std))
    else:
        found = channel_scaling(pixels, channels)
        mean = found.mean if config.mean is None else torch.full_like(found.mean, config.mean)
        std = found.std if config.std is None else torch.full_like(found.std, config.std)
        scaling = Affine(mean, std)
    return for_each_pixel(scaling, width)


def for_each_pixel(scaling: Affine, pixels: int) -> Affine:
    """Repeat a scaling (channels,) for each pixel of its channel."""
    return Affine(scaling.mean.repeat_interleave(pixels), scaling.std.repeat_interleave(pixels))


def default_root() -> Path:
    """Return the folder of the files if dataset.root is null."""
    if named := os.environ.get("MLPKIT_DATA"):
        return expand(named)
    return cache_folder()


def missing_files(kind: str, root: Path) -> list[str]:
    """Return the files of a dataset (named as by torchvision) that are missing under the root."""
    wanted = [file for pair in _FILES.values() for file in pair]
    return [file for file in wanted if _find(root, kind, file) is None]


def _idx_splits(config: IdxOptions, kind: str, download: bool) -> Divided:
    root = expand(config.root) if config.root else default_root()
    if missing := missing_files(kind, root):
        _download(config, kind, root, missing, download)
    train = _read_split(root, kind, "train")
    splits, order = gather_splits(train.inputs, train.targets, split_rows(config, train.targets))
    test = _read_split(root, kind, "test")
    # Reorder the bytes before converting them to float32: this moves a quarter of the memory.
    train_split = splits["train"]
    inputs, targets = train_split.all_inputs / 255, train_split.all_targets.long()
    divided = {name: Split(inputs, targets, split.rows) for name, split in splits.items()}
    return {**divided, "test": Split(test.inputs / 255, test.targets.long())}, order


def _read_split(root: Path, kind: str, split: str) -> Split:
    images_path, labels_path = (_find(root, kind, file) for file in _FILES[split])
    if images_path is None or labels_path is None:
        raise DataError(f"{root}: {', '.join(missing_files(kind, root))} is missing")
    images, labels = read_idx(images_path, (28, 28)), read_idx(labels_path, ())
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path}: {len(labels)} labels for {len(images)} images of {images_path.name}; "
            "take both files from the same copy of the dataset"
        )
    if len(labels) and int(labels.max()) > 9:
        raise DataError(f"{labels_path}: the label {int(labels.max())} is outside 0..9; the file is damaged")
    return Split(images.reshape(len(images), -1), labels)


def _find(root: Path, kind: str, file: str) -> Path | None:
    """Return the file in torchvision's layout or directly under the root, plain or gzipped."""
    for folder in (root / kind / "raw", root / kind, root):
        for candidate in (folder / file, folder / f"{file}.gz"):
            if candidate.exists():
                return candidate
    return None


def _download(config: IdxOptions, kind: str, root: Path, missing: list[str], allowed: bool) -> None:
    """Download the files with torchvision, which knows the mirrors and the checksums.

    They are downloaded to a temporary folder and then moved, so a failed download leaves no partial files.
    """
    folder = root / kind / "raw"
    way_out = f"put {', '.join(missing)} (plain or .gz) into {folder}, or set dataset.root or MLPKIT_DATA"
    if not config.download:
        raise DataError(f"dataset={config.name}: no files under {root} and download=false; {way_out}")
    if not allowed:
        raise DataError(f"dataset={config.name}: no files under {root}; only train fetches them; {way_out}")
    from torchvision import datasets

    from mlpkit.system.console import note

    note(f"downloading {config.name} to {folder}")
    waited = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # torchvision sets no timeout
    try:
        with (
            temporary_folder(next(path for path in folder.parents if path.is_dir())) as fresh,
            contextlib.redirect_stdout(sys.stderr),  # torchvision prints to stdout, which is for results
        ):
            getattr(datasets, kind)(str(fresh), download=True)
            folder.mkdir(parents=True, exist_ok=True)
            for file in missing:
                (fresh / folder.relative_to(root) / file).replace(folder / file)
    except (OSError, RuntimeError, HTTPException) as error:
        # Only the last line says what failed; the others name mirrors.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise DataError(f"dataset={config.name}: cannot be downloaded ({reason[:120]}); {way_out}") from None
    finally:
        socket.setdefaulttimeout(waited)
