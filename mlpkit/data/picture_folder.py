"""Reads a folder of pictures: its classes and splits, and the pixels, which are cached."""

import hashlib
import json
import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlpkit.config.problems import plural, show
from mlpkit.data.arrays import MOST_NUMBERS, read_npz
from mlpkit.data.dataset import SPLIT_OF_WORD, SPLITS
from mlpkit.data.input_schema import MOST_PIXELS
from mlpkit.data.pictures import (
    SUFFIXES,
    FileEntry,
    Size,
    describe_changes,
    files_in,
    is_picture,
    open_picture,
    picture_info,
    to_bytes,
)
from mlpkit.data.tables import listed
from mlpkit.errors import DataError, MlpkitError, WriteError
from mlpkit.system.atomic_write import atomic_write
from mlpkit.system.paths import cache_folder

CACHE_FORMAT = 1


@dataclass(frozen=True)
class Listing:
    """The picture files of a folder.

    Attributes:
        root: the folder.
        classes: names of the classes, by label.
        entries: the files.
        labels: the label of each file.
        splits: the files of train, val and test, as slices; None if the folder has no splits.
        left_out: how many files are not pictures, or not in a class folder.
    """

    root: Path
    classes: tuple[str, ...]
    entries: tuple[FileEntry, ...]
    labels: tuple[int, ...]
    splits: dict[str, slice] | None
    left_out: int

    def describe(self) -> str:
        """Return a line with the number of pictures and the classes."""
        left = f"; left out: {plural(self.left_out, 'other file')}" if self.left_out else ""
        classes = f"{plural(len(self.classes), 'class')} ({listed(self.classes)})"
        return f"{self.root}: {plural(len(self.entries), 'picture')} of {classes}{left}"


@dataclass(frozen=True)
class Pixels:
    """The pixels of all pictures.

    Attributes:
        values: (rows, channels, height, width), from 0 to 255.
        remarks: lines that say how pictures were converted.
    """

    values: NDArray[np.uint8]
    remarks: tuple[str, ...]


def list_pictures(root: Path, classes: Sequence[str] | None = None) -> Listing:
    """List the pictures of a folder that holds a folder for each class, or train, val and test with these.

    Args:
        root: the folder.
        classes: the classes of a trained model; None: the sorted names of the training folders.

    Raises:
        DataError: the folder has another layout.
    """
    if not root.is_dir():
        problem = "not a folder; name the one that holds a folder for each class"
        raise DataError(f"dataset.path={root}: {problem if root.exists() else 'no such folder'}")
    folders = _split_folders(root)
    known = tuple(classes) if classes else tuple(name for name in _folders_in(folders.get("train", root)))
    if len(known) < 2:
        where = folders.get("train", root)
        raise DataError(
            f"{where}: {len(known)} folders in it; put the pictures of each class into a folder of its own, "
            "two classes at least"
        )
    for name in known:
        if not name.isprintable() or len(name) > 200:
            raise DataError(f"{root}: the class {show(name)} cannot be printed on a line; rename its folder")
    entries: list[FileEntry] = []
    labels: list[int] = []
    splits, left_out = {}, 0
    for split, folder in (folders or {"": root}).items():
        start = len(entries)
        found = _folders_in(folder)
        if unknown := next((name for name in found if name not in known), None):
            raise DataError(
                f"{folder / unknown}: no such class in training, which has {listed(known)}; remove the folder"
            )
        if not found:
            raise DataError(f"{folder}: no folder for each class in it, as in train; move it elsewhere")
        left_out += sum(path.is_file() and not path.name.startswith(".") for path in folder.iterdir())
        for name in found:
            files = files_in(folder / name)
            pictures = [entry for entry in files if is_picture(entry.path)]
            if not pictures:
                raise DataError(
                    f"{folder / name}: no {', '.join(SUFFIXES)} file in it; put pictures into it or remove it"
                )
            left_out += len(files) - len(pictures)
            entries += pictures
            labels += [known.index(name)] * len(pictures)
        splits[split] = slice(start, len(entries))
    for entry in entries:
        if not stat.S_ISREG(entry.about.st_mode):
            raise DataError(f"{entry.path}: not a regular file; remove it")
    return Listing(root, known, tuple(entries), tuple(labels), splits if folders else None, left_out)


def _split_folders(root: Path) -> dict[str, Path]:
    """Return the folder of each split; empty if the folders are classes."""
    names = _folders_in(root)
    found: dict[str, Path] = {}
    others = []
    for name in names:
        split = SPLIT_OF_WORD.get(name.lower())
        if split is None:
            others.append(name)
        elif split in found:
            raise DataError(f"{root / name}: {found[split].name} is there too; keep one folder for {split}")
        else:
            found[split] = root / name
    if "train" not in found or not _folders_in(found["train"]):
        return {}  # then the folders are classes, even if one is called train
    if others:
        raise DataError(
            f"{root / others[0]}: neither train, val nor test, which lie beside it; move it elsewhere"
        )
    return {split: found[split] for split in SPLITS if split in found}


def _folders_in(folder: Path) -> list[str]:
    try:
        return sorted(
            path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
        )
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None


def read_pixels(listing: Listing, channels: int | None, size: Size | None) -> Pixels:
    """Return the pixels of all pictures, from the cache if they are in it.

    Args:
        listing: the pictures.
        channels: 1 or 3; None: 1 if all pictures are grey, else 3.
        size: height and width; None: the most common size of the training pictures.

    Raises:
        DataError: a picture cannot be read, or there are too many pixels.
    """
    key = hashlib.blake2b(
        os.fsencode(listing.root) + f"\0{channels} {size}".encode(), digest_size=16
    ).hexdigest()
    path = cache_folder() / "pictures" / f"{key}.npz"
    fingerprint = _fingerprint(listing)
    if (cached := _read_cache(path, fingerprint, len(listing.entries))) is not None:
        return cached
    found = _decode(listing, channels, size)
    about = {"fingerprint": fingerprint, "remarks": found.remarks}
    stream = BytesIO()
    np.savez(stream, pixels=found.values, about=np.frombuffer(json.dumps(about).encode(), np.uint8))
    try:
        atomic_write(path, stream.getvalue())
    except WriteError as error:
        return Pixels(found.values, (*found.remarks, f"warning: the pixels cannot be cached: {error}"))
    return found


def _fingerprint(listing: Listing) -> str:
    """Return a hash of the files' names, sizes and modification times."""
    digest = hashlib.blake2b(f"{CACHE_FORMAT}\0".encode(), digest_size=16)
    for entry in listing.entries:
        digest.update(os.fsencode(entry.path.relative_to(listing.root)))
        digest.update(f"\0{entry.about.st_size} {entry.about.st_mtime_ns}\0".encode())
    if listing.splits:  # the training pictures decide the size
        digest.update(str(listing.splits).encode())
    return digest.hexdigest()


def _read_cache(path: Path, fingerprint: str, rows: int) -> Pixels | None:
    """Return the pixels from the cache; None if the cache file is missing, damaged or of other files."""
    if not path.is_file():
        return None
    try:
        names, arrays = read_npz(path)  # it checks the archive's checksums
        by_name = dict(zip(names, arrays, strict=True))
        about, pixels = json.loads(by_name["about"].tobytes()), by_name["pixels"]
        is_current = about["fingerprint"] == fingerprint and pixels.dtype == np.uint8 and len(pixels) == rows
        return Pixels(pixels.astype(np.uint8, copy=False), tuple(about["remarks"])) if is_current else None
    except (MlpkitError, KeyError, ValueError, TypeError):
        return None


def _decode(listing: Listing, channels: int | None, size: Size | None) -> Pixels:
    infos = []
    for entry in listing.entries:
        with open_picture(entry.path) as picture:
            infos.append(picture_info(picture, entry.path))
    if channels is None:
        channels = 1 if all(info.is_grey for info in infos) else 3
    if size is None:
        train = listing.splits["train"] if listing.splits else slice(None)
        size = Counter(info.size for info in infos[train]).most_common(1)[0][0]
    height, width = size
    if channels * height * width > MOST_PIXELS:
        raise DataError(
            f"{listing.root}: pictures of {height}×{width} pixels (height × width) have more than "
            f"{MOST_PIXELS:,} inputs; set a smaller dataset.size, such as dataset.size=[32,32]"
        )
    shape = (len(infos), channels, height, width)
    if (numbers := int(np.prod(shape, dtype=object))) > MOST_NUMBERS:
        raise DataError(
            f"{listing.root}: {len(infos):,} pictures have {numbers:,} pixels, at most {MOST_NUMBERS:,}; set "
            "a smaller dataset.size"
        )
    values = np.empty(shape, np.uint8)
    for row, entry in enumerate(listing.entries):
        with open_picture(entry.path) as picture:
            values[row] = to_bytes(picture, channels, size)
    return Pixels(values, tuple(describe_changes(infos, channels, size)))
