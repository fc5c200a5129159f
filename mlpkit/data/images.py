"""Image datasets: MNIST and Fashion-MNIST from IDX files, and scikit-learn's digits."""

import contextlib
import os
import socket
import sys
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor

from mlpkit.config.dataset import DigitsDataset, FashionMnistDataset, MnistDataset
from mlpkit.data.dataset import Affine, Dataset, Split, deal, divide
from mlpkit.data.idx import read_idx
from mlpkit.data.signature import Signature
from mlpkit.errors import DataError
from mlpkit.files.atomic_write import temporary_folder
from mlpkit.files.paths import cache_folder, expand

ImageDataset = MnistDataset | FashionMnistDataset | DigitsDataset
Divided = tuple[dict[str, Split], Tensor]  # the splits, and the order of the table's rows

_DIGITS = tuple(str(digit) for digit in range(10))
_CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}
_CLASSES = {"mnist": _DIGITS, "fashion_mnist": _CLOTHES, "digits": _DIGITS}
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def load(config: ImageDataset, download: bool = True) -> Dataset:
    """Return the image dataset that the config names; pixels are float32 from 0 to 1.

    Args:
        config: of the dataset.
        download: fetch missing files where the config allows it.

    Raises:
        DataError: the files are missing and cannot be fetched, or are damaged.
    """
    if isinstance(config, DigitsDataset):
        (splits, order), shape = _digits(config), (8, 8)
    else:
        (splits, order), shape = _idx_splits(config, download), (28, 28)
    pixels = shape[0] * shape[1]
    scaling = Affine(torch.full((pixels,), config.mean), torch.full((pixels,), config.std))
    return Dataset(
        name=config.name,
        signature=Signature(
            "multiclass",
            tuple(f"pixel{i}" for i in range(pixels)),
            shape,
            ("label",),
            _CLASSES[config.name],
        ),
        splits=splits,
        input_scaling=scaling if config.standardize else None,
        order=order,
    )


def deal_rows(config: ImageDataset, rows: int) -> dict[str, Tensor]:
    """Return the rows of each split that is dealt at random, of so many rows."""
    test_fraction = config.test_fraction if isinstance(config, DigitsDataset) else 0.0
    return deal(rows, config.seed, config.val_fraction, test_fraction)


def default_root() -> Path:
    """Return where the files lie unless dataset.root says otherwise."""
    if named := os.environ.get("MLPKIT_DATA"):
        return expand(named)
    return cache_folder()


def missing_files(name: str, root: Path) -> list[str]:
    """Return the names of a dataset's files that are not under the root."""
    wanted = [file for pair in _FILES.values() for file in pair]
    return [file for file in wanted if _find(root, name, file) is None]


def _digits(config: DigitsDataset) -> Divided:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    inputs = torch.from_numpy(pixels).float() / 16  # scikit-learn's pixels are 0..16
    targets = torch.from_numpy(labels).long()
    return divide(inputs, targets, deal_rows(config, len(inputs)))


def _idx_splits(config: MnistDataset | FashionMnistDataset, download: bool) -> Divided:
    root = expand(config.root) if config.root else default_root()
    if missing := missing_files(config.name, root):
        _download(config, root, missing, download)
    train = _read_split(root, config.name, "train")
    splits, order = divide(train.inputs, train.targets, deal_rows(config, len(train)))
    test = _read_split(root, config.name, "test")
    # Bytes are divided into splits, and then become numbers: a quarter of the memory is moved.
    dealt = splits["train"]
    inputs, targets = dealt.all_inputs / 255, dealt.all_targets.long()
    divided = {name: Split(inputs, targets, split.rows) for name, split in splits.items()}
    return {**divided, "test": Split(test.inputs / 255, test.targets.long())}, order


def _read_split(root: Path, name: str, split: str) -> Split:
    images_path, labels_path = (_find(root, name, file) for file in _FILES[split])
    if images_path is None or labels_path is None:
        raise DataError(f"{root}: {', '.join(missing_files(name, root))} is missing")
    images, labels = read_idx(images_path, (28, 28)), read_idx(labels_path, ())
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path}: {len(labels)} labels for {len(images)} images of {images_path.name}; "
            "take both files from the same copy of the dataset"
        )
    if len(labels) and int(labels.max()) > 9:
        raise DataError(f"{labels_path}: the label {int(labels.max())} is outside 0..9; the file is damaged")
    return Split(images.reshape(len(images), -1), labels)


def _find(root: Path, name: str, file: str) -> Path | None:
    """Return the file in torchvision's layout or directly under the root, plain or gzipped."""
    for folder in (root / _FOLDERS[name] / "raw", root / _FOLDERS[name], root):
        for candidate in (folder / file, folder / f"{file}.gz"):
            if candidate.exists():
                return candidate
    return None


def _download(
    config: MnistDataset | FashionMnistDataset, root: Path, missing: list[str], allowed: bool
) -> None:
    """Fetch the files with torchvision, which knows the mirrors and the checksums.

    They are made elsewhere and then moved: what fails or is interrupted leaves nothing that looks like data.
    """
    folder = root / _FOLDERS[config.name] / "raw"
    way_out = f"put {', '.join(missing)} (plain or .gz) into {folder}, or set dataset.root or MLPKIT_DATA"
    if not config.download:
        raise DataError(f"dataset={config.name}: no files under {root} and download=false; {way_out}")
    if not allowed:
        raise DataError(f"dataset={config.name}: no files under {root}; only train fetches them; {way_out}")
    from torchvision import datasets

    from mlpkit.system.console import note

    kind = datasets.MNIST if config.name == "mnist" else datasets.FashionMNIST
    note(f"downloading {config.name} to {folder}")
    waited = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # torchvision sets none, and would wait for ever
    try:
        with (
            temporary_folder(next(path for path in folder.parents if path.is_dir())) as fresh,
            contextlib.redirect_stdout(sys.stderr),  # torchvision prints there; stdout is for results
        ):
            kind(str(fresh), download=True)
            folder.mkdir(parents=True, exist_ok=True)
            for file in missing:
                (fresh / folder.relative_to(root) / file).replace(folder / file)
    except (OSError, RuntimeError, HTTPException) as error:
        # The lines before the last one name mirrors.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise DataError(f"dataset={config.name}: cannot be downloaded ({reason[:120]}); {way_out}") from None
    finally:
        socket.setdefaulttimeout(waited)
