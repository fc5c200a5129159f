"""Exports a model: writes it, checks what was written in its own runtime, and only then keeps it."""

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlpkit.data.encoder import CategoryColumn, NumberColumn
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.raw_inputs import missing_texts
from mlpkit.deploy.check_rows import CheckRows
from mlpkit.deploy.compare import Difference, compare, with_answers
from mlpkit.deploy.format import Source, format_of
from mlpkit.errors import ConfigError, DataError, WriteError
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.sweep_folder import SweepFolder, is_sweep
from mlpkit.system.atomic_write import atomic_write, temporary_folder
from mlpkit.system.failed_write import failed_write
from mlpkit.system.plain_json import read_object, write_json
from mlpkit.version import __version__

MANIFEST, CARD = "manifest.json", "MODEL_CARD.md"


@dataclass(frozen=True)
class Exported:
    """What was kept.

    Attributes:
        files: the names of the files.
        rows: how many rows it was checked with.
        difference: from mlpkit's predictions.
    """

    files: list[str]
    rows: int
    difference: Difference


def check_folder(output: Path) -> None:
    """Check that a folder can take an export: it is not there, or holds an older export.

    Raises:
        ConfigError: it holds something else, belongs to a run, or its parent does not exist.
    """
    option = f"--output={output}"
    is_own = output.parent.name == "export" and RunFolder(output.parent.parent).is_run
    if not (output.parent.is_dir() or is_own or is_sweep(output.parent.parent)):
        raise ConfigError(f"{option}: its folder does not exist; make it first")
    for folder in output.resolve().parents:
        owned = RunFolder(folder).is_run and RunFolder(folder).owns(output.resolve())
        if owned or (is_sweep(folder) and SweepFolder(folder).owns(output.resolve())):
            raise ConfigError(f"{option}: belongs to {folder}; choose another name")
    if output.is_symlink():
        raise ConfigError(f"{option}: is a link; name the folder itself, or another one")
    if output.exists() and not output.is_dir():
        raise ConfigError(f"{option}: is there and no folder; choose another name")
    if os.path.ismount(output):  # Path.is_mount is not there on Windows
        raise ConfigError(f"{option}: is a disk, which cannot be replaced; name a folder in it")
    if output.is_dir() and any(output.iterdir()) and not _is_export(output):
        raise ConfigError(f"{option}: holds files that are no export; choose another name")


def _is_export(folder: Path) -> bool:
    """Whether a folder holds an export and nothing else."""
    with suppress(DataError):
        files = read_object(folder / MANIFEST).get("files")
        return isinstance(files, dict) and {path.name for path in folder.iterdir()} <= {
            *files,
            MANIFEST,
            CARD,
        }
    return False


def export(
    source: Source,
    format_: str,
    output: Path,
    rows: Sequence[CheckRows],
    checkpoints: Sequence[Path],
    card: Callable[[], str],
) -> Exported:
    """Write a model in a format into a folder, if what is written predicts as mlpkit does.

    Args:
        source: the model.
        format_: a name in `MODULES`.
        output: the folder; an older export in it is replaced.
        rows: of the check.
        checkpoints: the files of the model.
        card: returns the model card, after the check.

    Raises:
        ConfigError: the format cannot hold the model, or what runs it is missing.
        DataError: the export predicts something else, or fails.
        WriteError: it cannot be written.
    """
    chosen = format_of(format_)
    chosen.check_runtime()
    folder = output
    try:
        with temporary_folder(next(parent for parent in output.parents if parent.is_dir())) as temporary:
            folder = temporary / "export"
            folder.mkdir()
            about = chosen.write(source, folder)
            checked = rows[0]
            for more in rows[1:]:
                checked = checked.plus(more)
            checked = chosen.inputs(with_answers(source, checked), source.schema)
            try:
                difference = compare(source, checked, chosen.run(source, folder, checked))
            except DataError as error:
                raise DataError(f"--format={format_}: {error}; nothing was written") from None
            files = sorted(path for path in folder.iterdir() if path.is_file())
            manifest = {
                "format": format_,
                "mlpkit": __version__,
                "model": source.title,
                "checkpoints": [{"path": str(path), "sha256": _sha256(path)} for path in checkpoints],
                "task": source.schema.task,
                **({"threshold": source.threshold} if source.has_threshold else {}),
                "inputs": describe_inputs(source.schema),
                **({"missing": list(missing_texts(source.config.dataset))} if source.schema.encoder else {}),
                "outputs": describe_outputs(source.schema),
                "check": {
                    "rows": len(checked),
                    "largest_difference": difference.largest,
                    "allowed_difference": difference.allowed,
                },
                **about,
                "files": {path.name: _sha256(path) for path in files},
            }
            write_json(folder / MANIFEST, manifest)
            atomic_write(folder / CARD, card().encode())
            output.parent.mkdir(exist_ok=True)
            _put(folder, output, temporary / "old")
    except WriteError as error:
        raise WriteError(str(error).replace(str(folder), str(output))) from None
    except OSError as error:
        raise failed_write(output, error, "cannot write the export") from None
    return Exported([*(path.name for path in files), MANIFEST, CARD], len(checked), difference)


def _put(folder: Path, output: Path, old: Path) -> None:
    """Rename a folder to `output`; an older export there is renamed to `old`, and back if that fails."""
    is_there = output.exists()
    if is_there:
        output.rename(old)
    try:
        folder.rename(output)
    except OSError:
        if is_there:
            old.rename(output)
        raise


def describe_inputs(schema: InputSchema) -> list[dict[str, Any]]:
    """Return the raw inputs of a model, for the manifest."""
    if schema.encoder is None:
        array = {"name": "x", "kind": "array", "shape": ["rows", len(schema.features)]}
        if not schema.is_image:
            return [{**array, "columns": list(schema.features)}]
        inverted = schema.pictures is not None and schema.pictures.inverted
        return [{**array, "picture": list(schema.input_shape), "pixels": [0, 1], "inverted": inverted}]
    found = []
    for spec in schema.encoder.columns:
        about: dict[str, Any] = {"name": spec.column, "kind": spec.kind}
        if isinstance(spec, CategoryColumn):
            about["levels"] = list(spec.levels)
            about["refuses"] = list(spec.refuses)
        elif isinstance(spec, NumberColumn):
            about["refuses"] = ["missing"] if spec.fill is None else []
        else:
            about["refuses"] = ["missing"] if spec.refuses_missing else []
        found.append(about)
    return found


def describe_outputs(schema: InputSchema) -> list[dict[str, Any]]:
    """Return the outputs of a model, for the manifest."""
    names = list(schema.classes or schema.targets)
    if schema.task == "regression":
        return [{"name": "value", "columns": names}]
    return [{"name": "label"}, {"name": "probabilities", "columns": names}]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
