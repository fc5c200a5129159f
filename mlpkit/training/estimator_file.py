"""Saves the members of an estimator as mlpkit checkpoints, and loads them."""

from dataclasses import replace
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np

from mlpkit.errors import DataError
from mlpkit.folders import checkpoint as checkpoint_file
from mlpkit.folders.checkpoint import Checkpoint
from mlpkit.folders.find_run import MEMBERS, find_members
from mlpkit.folders.trust import Trust
from mlpkit.training.members import Members


def save_members(estimator: Any, members: Members, path: Path) -> None:
    """Write the checkpoint of one member into a file, or those of several into a folder.

    Raises:
        ValueError: the labels of the classes cannot be saved.
        WriteError: a file cannot be written.
    """
    about = {
        "class": type(estimator).__name__,
        "parameters": {name: _plain(value) for name, value in estimator.get_params(deep=False).items()},
        "labels": estimator.classes_.dtype.kind if hasattr(estimator, "classes_") else "",
    }
    stored = [replace(checkpoint, estimator=about) for checkpoint in members.checkpoints]
    if about["labels"] and (labels := estimator.classes_.tolist()) != labels_of(stored[0]).tolist():
        raise ValueError(
            f"{path}: the labels {shorten(str(labels), 60)} cannot be saved; use texts of one line, "
            "numbers or booleans"
        )
    if len(stored) == 1:
        checkpoint_file.save(path, stored[0])
        return
    path.mkdir(parents=True, exist_ok=True)
    files = [path / f"member-{number:03}.safetensors" for number in range(len(stored))]
    for file, member in zip(files, stored, strict=True):
        checkpoint_file.save(file, member)
    for older in {*path.glob(MEMBERS)}.difference(files):  # there were more members
        older.unlink()


def load_members(path: Path, device: str, allow_large: bool) -> Members:
    """Return the members that `save_members` has written, or the model of another checkpoint.

    Raises:
        DataError: a file is not a checkpoint, or is damaged.
    """
    files = find_members(path) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: no file {MEMBERS} in this folder; name the file of a checkpoint")
    kinds, trust = ("model", "optimizer"), Trust.foreign(allow_large)
    found = [checkpoint_file.load(file, kinds, trust) for file in files]
    return Members([member for stored in found for member in stored.members()], device)


def parameters_of(members: Members, estimator: Any) -> dict[str, Any]:
    """Return the parameters of an estimator: the saved ones, or those that the config implies.

    Args:
        members: what was loaded.
        estimator: the class.
    """
    first = members.checkpoints[0]
    about, config = first.estimator, first.config
    known = estimator._get_param_names()
    saved = about.get("parameters") if about.get("class") == estimator.__name__ else None
    if not isinstance(saved, dict):
        model = config.model.model_dump()
        saved = {
            "hidden_layer_sizes": model.get("hidden"),
            "fit_intercept": model.get("bias"),
            **{name: model[name] for name in ("activation", "dropout", "norm") if name in model},
            "solver": config.optimizer.name,
            "learning_rate_init": config.optimizer.lr,
            "max_iter": config.trainer.epochs,
            "standardize": config.dataset.standardize,
            "precision": config.trainer.precision,
        }
    saved = saved | {"device": members.device, "n_members": len(members.checkpoints)}
    return {n: tuple(v) if isinstance(v, list) else v for n, v in saved.items() if n in known}


def labels_of(checkpoint: Checkpoint) -> Any:
    """Return the labels of the classes, of the type that they had.

    If it is not known, names that are integers become integers.
    """
    schema, kind = checkpoint.input_schema, str(checkpoint.estimator.get("labels", ""))
    if not schema.classes:
        return np.arange(len(schema.targets))
    if kind == "b":
        return np.array([name == "True" for name in schema.classes])
    convert = {"f": float, "i": int, "u": int, "": int}.get(kind, str)
    try:
        return np.array([convert(name) for name in schema.classes])
    except ValueError:
        return np.array(schema.classes, dtype=object if kind == "O" else None)


def _plain(value: Any) -> Any:
    """Return a parameter as JSON can say it; None for one that it cannot, such as a random generator."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(of_key) for key, of_key in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float | bool) else None
