"""Finds the arrays of inputs and targets of each split in NumPy files."""

import stat
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlpkit.config.problems import plural, spell
from mlpkit.data.arrays import INPUTS, TARGETS, Array, read_npy, read_npz, refuse_pickle
from mlpkit.data.tables import listed
from mlpkit.errors import ConfigError, DataError
from mlpkit.system.paths import no_such_file

SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_WORDS = {"inputs": "inputs", "target": "targets", "sample_weight": "weights"}  # by the key that names them


@dataclass(frozen=True)
class SplitArrays:
    """Inputs and targets of one split.

    Attributes:
        inputs: (rows, …).
        targets: (rows,) or (rows, …).
        inputs_name: the file and the array of the inputs, for errors.
        targets_name: the same for the targets.
        weights: (rows,), how much each row counts in the loss; None: all the same.
        weights_name: the same for the weights.
    """

    inputs: Array
    targets: Array
    inputs_name: str
    targets_name: str
    weights: Array | None = None
    weights_name: str = ""


def read_split_arrays(
    path: Path, inputs: str | None, target: str | None, weights: str | None, memory: int
) -> tuple[dict[str, SplitArrays], list[str]]:
    """Return the arrays of each split in the file, and the names of the arrays that were not used.

    Args:
        path: a .npz with inputs and targets, or a .npy with inputs.
        inputs: name of the input array; None: one of INPUTS.
        target: name of the target array; None: one of TARGETS. For a .npy: the path of the targets' .npy.
        weights: name of the array of weights in the .npz; None: there are no weights.
        memory: see `read_npz`.

    Raises:
        ConfigError: the options do not fit the kind of file.
        DataError: the file is damaged, or inputs or targets are missing.
    """
    _check_file(path, "dataset.path")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy warns of unusual headers; it reads or refuses them anyway
        if path.suffix.lower() == ".npz":
            return _from_npz(path, inputs, target, weights, memory)
        if weights is not None:
            raise ConfigError(
                f"dataset.sample_weight={spell(weights)}: a .npy holds only the inputs; save all arrays with "
                "numpy.savez(FILE, X=…, y=…, w=…)"
            )
        if inputs is not None:
            raise ConfigError(f"dataset.inputs={spell(inputs)}: a .npy file has no array names; leave it out")
        if target is None:
            raise ConfigError(
                "dataset.target: no file is named, and a .npy holds only the inputs; write "
                "dataset.target=FILE.npy, or save both with numpy.savez(FILE, X=…, y=…)"
            )
        other = Path(target)
        _check_file(other, "dataset.target")
        if other.suffix.lower() != ".npy":
            raise ConfigError(f"dataset.target={target}: must be a .npy file, since the inputs are one")
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


def _from_npz(
    path: Path, inputs: str | None, target: str | None, weights: str | None, memory: int
) -> tuple[dict[str, SplitArrays], list[str]]:
    names, arrays = read_npz(path, memory)
    left = dict(zip(names, arrays, strict=True))
    parts = {}
    for split in SPLITS:
        inputs_array = _find(left, path, split, "inputs", inputs, INPUTS)
        targets_array = _find(left, path, split, "target", target, TARGETS)
        if inputs_array is None and targets_array is None and split != "train":
            continue
        for key, name in (("inputs", inputs_array), ("target", targets_array)):
            if name is None:
                usual = f"X or X_{split}" if key == "inputs" else f"y or y_{split}"
                raise DataError(
                    f"{path}: no array of {split} {_WORDS[key]}, such as {usual}; it has "
                    f"{listed(names)}; name one with dataset.{key}=NAME"
                )
        weights_array = None
        if weights is not None:
            weights_array = _find(left, path, split, "sample_weight", weights, ())
            if weights_array is None:
                raise DataError(
                    f"{path}: no array of {split} weights, such as {spell(weights)} or "
                    f"{spell(f'{weights}_{split}')}; it has {listed(names)}"
                )
        assert inputs_array is not None and targets_array is not None
        parts[split] = SplitArrays(
            left.pop(inputs_array),
            left.pop(targets_array),
            f"{path}: {inputs_array}",
            f"{path}: {targets_array}",
            None if weights_array is None else left.pop(weights_array),
            f"{path}: {weights_array}",
        )
        _check_rows(parts[split])
    return parts, list(left)


def _find(
    arrays: dict[str, Array], path: Path, split: str, key: str, named: str | None, usual: Sequence[str]
) -> str | None:
    """Return the name of the split's array of inputs or targets, or None."""
    stems = (named,) if named is not None else usual
    words = SPLITS[split]
    wanted = [form for stem in stems for word in words for form in (f"{stem}_{word}", f"{word}_{stem}")]
    if split == "train":
        wanted = [*stems, *wanted]
    matches = [name for name in wanted if name in arrays]
    if len(matches) > 1:
        raise DataError(
            f"{path}: {listed(matches)} could all be the {split} {_WORDS[key]}; name one with "
            f"dataset.{key}=NAME"
        )
    return matches[0] if matches else None


def _check_rows(part: SplitArrays) -> None:
    for array, name in ((part.inputs, part.inputs_name), (part.targets, part.targets_name)):
        if array.ndim == 0 or len(array) == 0:
            raise DataError(f"{name}: no rows; give at least one")
    if len(part.inputs) != len(part.targets):
        raise DataError(
            f"{part.targets_name}: {len(part.targets):,} rows, but {part.inputs_name} has "
            f"{len(part.inputs):,}; save arrays with the same number of rows"
        )
    if part.weights is not None and part.weights.shape != (len(part.inputs),):
        raise DataError(
            f"{part.weights_name}: has shape {part.weights.shape}, but {part.inputs_name} has "
            f"{plural(len(part.inputs), 'row')}; save one weight for each row"
        )
