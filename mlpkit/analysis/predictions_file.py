"""Predictions as columns, and the files that hold them: csv, jsonl, npz."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile, ZipInfo

import numpy as np

from mlpkit.config.problems import show
from mlpkit.data.input_schema import InputSchema
from mlpkit.errors import ConfigError
from mlpkit.runs.output_file import write_output
from mlpkit.system.plain_json import to_json

if TYPE_CHECKING:
    from mlpkit.analysis.predict import Predictions

ENDINGS = (".csv", ".jsonl", ".npz")

Columns = dict[str, list[Any]]


def as_columns(
    predictions: "Predictions",
    input_schema: InputSchema,
    names: tuple[str, ...] = (),
    true: Any = None,
    kept: Columns | None = None,
) -> Columns:
    """Return the columns by name: those kept, the file of each row where known, what is true where known, and

    the value of each target for regression; label, class name and probability of each class otherwise.
    Numbers are numpy's, in the model's own precision, so that they print as short as they are exact.

    Raises:
        ConfigError: a column that is kept has the name of another one.
    """
    columns = _said(predictions, input_schema, names, true)
    if clash := next((name for name in kept or {} if name in columns), None):
        raise ConfigError(
            f"--keep={show(clash)}: the output has such a column of its own; rename it in the input"
        )
    return {**(kept or {}), **columns}


def _said(
    predictions: "Predictions", input_schema: InputSchema, names: tuple[str, ...], true: Any
) -> Columns:
    columns: Columns = {"file": list(names)} if names else {}
    values = predictions.values.numpy()
    if input_schema.task == "regression":
        if true is not None:
            columns |= {
                f"true_{name}": list(true.numpy()[:, i]) for i, name in enumerate(input_schema.targets)
            }
        columns |= {name: list(values[:, i]) for i, name in enumerate(input_schema.targets)}
        return columns
    if true is not None:
        columns["true"] = [input_schema.classes[label] for label in true.tolist()]
    columns["label"] = values.tolist()
    columns["class"] = [input_schema.classes[label] for label in values]
    if predictions.probabilities is not None:
        for index, name in enumerate(input_schema.classes):
            columns[f"p({name})"] = list(predictions.probabilities[:, index].numpy())
    return columns


def to_csv(columns: Columns) -> str:
    """Return the columns as csv text."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return stream.getvalue()


def write(path: Path, columns: Columns) -> None:
    """Write the columns in the format of the file's ending.

    Raises:
        WriteError: the file cannot be written.
    """
    if path.suffix == ".csv":
        content = to_csv(columns).encode(errors="surrogateescape")
    elif path.suffix == ".jsonl":
        rows = zip(*columns.values(), strict=True)
        lines = [to_json(dict(zip(columns, (_plain(v) for v in row), strict=True))) for row in rows]
        content = "".join(f"{line}\n" for line in lines).encode()
    else:
        content = _to_npz(columns)
    write_output(path, content)


def _to_npz(columns: Columns) -> bytes:
    """Return what numpy.savez would write, which cannot name an array `file`."""
    stream = io.BytesIO()
    with ZipFile(stream, "w") as archive:
        for name, values in columns.items():
            with archive.open(ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                known = [np.nan if value is None else value for value in values]
                np.lib.format.write_array(member, np.asarray(known), allow_pickle=False)
    return stream.getvalue()


def _plain(value: Any) -> Any:
    """Return numpy's number as Python's, through its shortest text: 0.3 stays 0.3."""
    return float(str(value)) if isinstance(value, np.floating) else value
