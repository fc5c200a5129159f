"""Writes predictions as csv, jsonl or npz files."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile, ZipInfo

import numpy as np

from mlpkit.config.problems import show
from mlpkit.data.input_schema import InputSchema
from mlpkit.errors import ConfigError
from mlpkit.folders.output_file import write_output
from mlpkit.system.plain_json import to_json

if TYPE_CHECKING:
    from torch import Tensor

    from mlpkit.analysis.conformal import Conformal
    from mlpkit.analysis.predict import Predictions

ENDINGS = (".csv", ".jsonl", ".npz")

Columns = dict[str, list[Any]]


def as_columns(
    predictions: "Predictions",
    input_schema: InputSchema,
    names: tuple[str, ...] = (),
    true: Any = None,
    kept: Columns | None = None,
    rows: Sequence[int] | None = None,
    conformal: "Conformal | None" = None,
    spread: "Tensor | None" = None,
    novelty: "Tensor | None" = None,
) -> Columns:
    """Return the columns of a predictions file by name.

    Regression has a column for each target, and so has multilabel, with one for each probability as well;
    classification has label, class name and the probability of each class. `row`, `file` and the true values
    come first if they are given. Numbers stay numpy's, in the model's precision, so that they are printed
    with no more digits than they have.

    Args:
        predictions: the predictions.
        input_schema: the model's input schema.
        names: the image file of each row, if the inputs are files.
        true: the targets, if they are known.
        kept: columns of the input that are copied to the output; targets are named true_NAME.
        rows: the place of each row in its table, counted from 0; the column `row` counts from 1.
        conformal: adds the column `set` with the names of the classes, or `low` and `high`.
        spread: see `mlpkit.analysis.predict.Ensemble.spread`; of classes, that of the class is shown.
        novelty: (rows,) see `mlpkit.analysis.novelty`.

    Raises:
        ConfigError: a kept column has the name of another column of the output.
    """
    numbers: Columns = {} if rows is None else {"row": [row + 1 for row in rows]}
    columns = numbers | _said(predictions, input_schema, names, true)
    if conformal is not None:
        columns |= _reached(conformal, predictions, input_schema)
    if spread is not None and input_schema.classes:
        columns["spread"] = list(spread.gather(1, predictions.values[:, None])[:, 0].numpy())
    elif spread is not None:
        columns |= {
            f"spread({name})": list(spread[:, i].numpy()) for i, name in enumerate(input_schema.targets)
        }
    if novelty is not None:
        name = "novelty(inputs)" if "novelty" in columns else "novelty"  # a target may have the name
        columns[name] = list(novelty.float().numpy())
    copied: Columns = {}
    for name, values in (kept or {}).items():
        is_predicted = name in input_schema.targets and name in columns
        if name in columns and not is_predicted:
            raise ConfigError(
                f"--keep={show(name)}: the output has such a column of its own; rename it in the input"
            )
        copied[f"true_{name}" if is_predicted else name] = values
    return {**copied, **columns}


def _said(
    predictions: "Predictions", input_schema: InputSchema, names: tuple[str, ...], true: Any
) -> Columns:
    columns: Columns = {"file": list(names)} if names else {}
    values = predictions.values.numpy()
    classes, targets = input_schema.classes, input_schema.targets
    if classes:
        if true is not None:
            columns["true"] = [classes[label] for label in true.tolist()]
        columns["label"] = values.tolist()
        columns["class"] = [classes[label] for label in values]
    else:
        if true is not None:
            known = true.numpy().astype(values.dtype)
            columns |= {f"true_{name}": list(known[:, i]) for i, name in enumerate(targets)}
        columns |= {name: list(values[:, i]) for i, name in enumerate(targets)}
    if predictions.probabilities is not None:
        for index, name in enumerate(classes or targets):
            columns[f"p({name})"] = list(predictions.probabilities[:, index].numpy())
    return columns


def _reached(conformal: "Conformal", predictions: "Predictions", input_schema: InputSchema) -> Columns:
    """Return the columns of sets, as in `cat|dog`, or of intervals."""
    if classes := input_schema.classes:
        found = conformal.sets(predictions).tolist()
        return {
            "set": ["|".join(name for name, held in zip(classes, row, strict=True) if held) for row in found]
        }
    targets, columns = input_schema.targets, Columns()
    for index, name in enumerate(targets):
        of = "" if len(targets) == 1 and name not in ("low", "high") else f"({name})"
        for end, values in zip(("low", "high"), conformal.low_and_high(predictions), strict=True):
            columns[f"{end}{of}"] = list(values[:, index].numpy().astype(predictions.values.numpy().dtype))
    return columns


def to_csv(columns: Columns) -> str:
    """Return the columns as csv text."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return stream.getvalue()


def to_rows(columns: Columns) -> list[dict[str, Any]]:
    """Return each row as an object of plain JSON values."""
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, map(_plain, row), strict=True)) for row in rows]


def write(path: Path, columns: Columns) -> None:
    """Write the columns in the format of the file's suffix.

    Raises:
        WriteError: the file cannot be written.
    """
    if path.suffix == ".csv":
        content = to_csv(columns).encode(errors="surrogateescape")
    elif path.suffix == ".jsonl":
        content = "".join(f"{to_json(row)}\n" for row in to_rows(columns)).encode()
    else:
        content = _to_npz(columns)
    write_output(path, content)


def _to_npz(columns: Columns) -> bytes:
    """Return an npz archive. numpy.savez is not used, since it cannot store an array named `file`."""
    stream = io.BytesIO()
    with ZipFile(stream, "w") as archive:
        for name, values in columns.items():
            with archive.open(ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                known = [np.nan if value is None else value for value in values]
                np.lib.format.write_array(member, np.asarray(known), allow_pickle=False)
    return stream.getvalue()


def _plain(value: Any) -> Any:
    """Return a numpy number as a Python number, through its shortest text: float32 0.3 becomes 0.3."""
    return float(str(value)) if isinstance(value, np.floating) else value
