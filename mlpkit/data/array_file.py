"""Files of arrays to train on: which of their arrays are inputs and targets, and of which split."""

import stat
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlpkit.config.problems import spell
from mlpkit.data.arrays import INPUTS, TARGETS, Array, read_npy, read_npz, refuse_pickle
from mlpkit.data.tables import listed
from mlpkit.errors import ConfigError, DataError
from mlpkit.system.paths import no_such_file

SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_WORDS = {"inputs": "inputs", "target": "targets"}  # by the key that names them


@dataclass(frozen=True)
class SplitArrays:
    """The arrays of a split.

    Attributes:
        inputs: (rows, …).
        targets: (rows,) or (rows, …).
        inputs_name: how errors name them: the file, and the array in it.
        targets_name: likewise.
    """

    inputs: Array
    targets: Array
    inputs_name: str
    targets_name: str


def read_split_arrays(
    path: Path, inputs: str | None, target: str | None
) -> tuple[dict[str, SplitArrays], list[str]]:
    """Return the arrays of train, and of val and test where they are there, and the names of others.

    Args:
        path: a .npz with inputs and targets, or a .npy with inputs.
        inputs: name of the array of inputs; None: one of INPUTS.
        target: name of the array of targets; None: one of TARGETS; for a .npy, the .npy of the targets.

    Raises:
        ConfigError: the options do not go with the file.
        DataError: it is damaged, or does not hold both.
    """
    _check_file(path, "dataset.path")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd headers, which are read or refused anyway
        if path.suffix.lower() == ".npz":
            return _from_npz(path, inputs, target)
        if inputs is not None:
            raise ConfigError(f"dataset.inputs={spell(inputs)}: a .npy has no names; leave it out")
        if target is None:
            raise ConfigError(
                "dataset.target: no file is named, and a .npy holds inputs alone; write "
                "dataset.target=FILE.npy, or save both with numpy.savez(FILE, X=…, y=…)"
            )
        other = Path(target)
        _check_file(other, "dataset.target")
        if other.suffix.lower() != ".npy":
            raise ConfigError(f"dataset.target={target}: with a .npy of inputs it must be a .npy too")
        part = SplitArrays(read_npy(path), read_npy(other), str(path), str(other))
    _check_rows(part)
    return {"train": part}, []


def _check_file(path: Path, key: str) -> None:
    refuse_pickle(path, f"{key}={path}")
    if path.suffix.lower() not in (".npz", ".npy"):
        raise DataError(f"{key}={path}: must be a .npz or .npy file of arrays; numpy.savez writes one")
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{key}={path}: not a regular file")
    except FileNotFoundError:
        raise DataError(f"{key}={path}: {no_such_file(path)}") from None
    except OSError as error:
        raise DataError(f"{key}={path}: cannot be read ({error.strerror})") from None


def _from_npz(path: Path, inputs: str | None, target: str | None) -> tuple[dict[str, SplitArrays], list[str]]:
    names, arrays = read_npz(path)
    left = dict(zip(names, arrays, strict=True))
    parts = {}
    for split in SPLITS:
        of_inputs = _find(left, path, split, "inputs", inputs, INPUTS)
        of_targets = _find(left, path, split, "target", target, TARGETS)
        if of_inputs is None and of_targets is None and split != "train":
            continue
        for key, name in (("inputs", of_inputs), ("target", of_targets)):
            if name is None:
                usual = f"X or X_{split}" if key == "inputs" else f"y or y_{split}"
                raise DataError(
                    f"{path}: no array of the {split} {_WORDS[key]}, such as {usual}; it has "
                    f"{listed(names)}; name one with dataset.{key}=NAME"
                )
        assert of_inputs is not None and of_targets is not None
        parts[split] = SplitArrays(
            left.pop(of_inputs), left.pop(of_targets), f"{path}: {of_inputs}", f"{path}: {of_targets}"
        )
        _check_rows(parts[split])
    return parts, list(left)


def _find(
    arrays: dict[str, Array], path: Path, split: str, key: str, named: str | None, usual: Sequence[str]
) -> str | None:
    """Return the name of an array of a split, or None."""
    roots = (named,) if named is not None else usual
    words = SPLITS[split]
    wanted = [form for root in roots for word in words for form in (f"{root}_{word}", f"{word}_{root}")]
    if split == "train":
        wanted = [*roots, *wanted]
    found = [name for name in wanted if name in arrays]
    if len(found) > 1:
        raise DataError(
            f"{path}: {listed(found)} may all be the {split} {_WORDS[key]}; name one with dataset.{key}=NAME"
        )
    return found[0] if found else None


def _check_rows(part: SplitArrays) -> None:
    for array, name in ((part.inputs, part.inputs_name), (part.targets, part.targets_name)):
        if array.ndim == 0 or len(array) == 0:
            raise DataError(f"{name}: no rows; give at least one")
    if len(part.inputs) != len(part.targets):
        raise DataError(
            f"{part.targets_name}: {len(part.targets):,} rows for the {len(part.inputs):,} of "
            f"{part.inputs_name}; save arrays that belong together"
        )
