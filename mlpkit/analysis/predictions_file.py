"""Writes predictions as csv, jsonl, npz or parquet files, portion by portion."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from zipfile import ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from mlpkit.config.problems import show
from mlpkit.data.input_schema import InputSchema
from mlpkit.errors import ConfigError
from mlpkit.folders.output_file import open_output
from mlpkit.system.plain_json import to_json

if TYPE_CHECKING:
    import pyarrow
    from torch import Tensor

    from mlpkit.analysis.conformal import Conformal
    from mlpkit.analysis.predictions import Predictions

Values = Sequence[Any] | NDArray[Any]
Columns = dict[str, Values]


def as_columns(
    predictions: "Predictions",
    input_schema: InputSchema,
    names: tuple[str, ...] = (),
    true: Any = None,
    kept: Mapping[str, Values] | None = None,
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
        columns["spread"] = spread.gather(1, predictions.values[:, None])[:, 0].numpy()
    elif spread is not None:
        columns |= {f"spread({name})": spread[:, i].numpy() for i, name in enumerate(input_schema.targets)}
    if novelty is not None:
        name = "novelty(inputs)" if "novelty" in columns else "novelty"  # a target may have the name
        columns[name] = novelty.float().numpy()
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
        columns["class"] = [classes[label] for label in values.tolist()]
    else:
        if true is not None:
            known = true.numpy().astype(values.dtype)
            columns |= {f"true_{name}": known[:, i] for i, name in enumerate(targets)}
        columns |= {name: values[:, i] for i, name in enumerate(targets)}
    if predictions.probabilities is not None:
        for index, name in enumerate(classes or targets):
            columns[f"p({name})"] = predictions.probabilities[:, index].numpy()
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
            columns[f"{end}{of}"] = values[:, index].numpy().astype(predictions.values.numpy().dtype)
    return columns


def joined(portions: Iterable[Columns]) -> Columns:
    """Return the columns of several portions of rows as one."""
    parts = list(portions)
    return {name: _one([part[name] for part in parts]) for name in parts[0]}


def _one(parts: Sequence[Values]) -> Values:
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    return [value for part in parts for value in part]


def to_csv(columns: Mapping[str, Values], with_header: bool = True) -> str:
    """Return the columns as csv text."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    if with_header:
        writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return stream.getvalue()


def to_rows(columns: Mapping[str, Values]) -> list[dict[str, Any]]:
    """Return each row as an object of plain JSON values."""
    rows = zip(*map(_plain, columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def write(path: Path, portions: Iterable[Columns]) -> int:
    """Write the columns of some portions of rows in the format of the file's suffix; return the rows.

    Each portion is written before the next one is made; but an npz needs all of them.

    Raises:
        WriteError: the file cannot be written; an older one is left unchanged, also if a portion fails.
    """
    rows = 0

    def counted() -> Iterator[Columns]:
        nonlocal rows
        for columns in portions:
            yield columns
            rows += len(next(iter(columns.values())))

    with open_output(path) as stream:
        _WRITERS[path.suffix](stream, counted())
    return rows


def _write_csv(stream: IO[bytes], portions: Iterable[Columns]) -> None:
    for number, columns in enumerate(portions):
        stream.write(to_csv(columns, with_header=number == 0).encode(errors="surrogateescape"))


def _write_jsonl(stream: IO[bytes], portions: Iterable[Columns]) -> None:
    for columns in portions:
        stream.write("".join(f"{to_json(row)}\n" for row in to_rows(columns)).encode())


def _write_npz(stream: IO[bytes], portions: Iterable[Columns]) -> None:
    """Write an npz archive. numpy.savez is not used, since it cannot store an array named `file`."""
    with ZipFile(stream, "w") as archive:
        for name, values in joined(portions).items():
            with archive.open(ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                if not isinstance(values, np.ndarray):
                    values = np.asarray([np.nan if value is None else value for value in values])
                np.lib.format.write_array(member, values, allow_pickle=False)


def _write_parquet(stream: IO[bytes], portions: Iterable[Columns]) -> None:
    from pyarrow import parquet

    first, rest = next(iterator := iter(portions)), iterator
    table = _arrow_table(first)
    with parquet.ParquetWriter(stream, table.schema) as writer:
        writer.write_table(table)
        for columns in rest:
            writer.write_table(_arrow_table(columns, table.schema))


def _arrow_table(columns: Columns, schema: "pyarrow.Schema | None" = None) -> "pyarrow.Table":
    """Return the columns with the types of the first portion; one without values there holds float64."""
    import pyarrow

    found = []
    for name, values in columns.items():
        if len(values) and isinstance(values[0], str):  # names of files may hold bytes that are not UTF-8
            values = [value.encode(errors="replace").decode() for value in values]
        array = pyarrow.array(values)
        if schema is not None:
            array = array.cast(schema.field(name).type)
        found.append(array.cast(pyarrow.float64()) if pyarrow.types.is_null(array.type) else array)
    return pyarrow.table(found, names=list(columns))


_WRITERS = {".csv": _write_csv, ".jsonl": _write_jsonl, ".npz": _write_npz, ".parquet": _write_parquet}
ENDINGS = tuple(_WRITERS)


def _plain(values: Values) -> Sequence[Any]:
    """Return numpy's numbers as Python's, through their shortest text: float32 0.3 becomes 0.3."""
    if isinstance(values, np.ndarray) and not np.issubdtype(values.dtype, np.floating):
        found: list[Any] = values.tolist()
        return found
    return [float(str(value)) if isinstance(value, np.floating) else value for value in values]
