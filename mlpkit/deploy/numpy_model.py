"""A trained model that needs Python and NumPy alone; mlpkit writes a copy of this text into its exports.

predict([{"age": 41, "city": "Oslo"}])          rows, or columns: {"age": [41], "city": ["Oslo"]}
python model.py rows.csv > predictions.csv      - stands for stdin
"""

from __future__ import annotations

import base64
import codecs
import csv
import io
import math
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mlpkit.deploy.numpy_encoder import NUMBER, Array, Encoder

FRACTION = re.compile(r"[+-]?[0-9]*([.,])[0-9]+([eE][+-]?[0-9]+)?")


class Model(Encoder):
    """Reads rows, encodes them as in training, and predicts."""

    def __init__(self, content: dict[str, Any]) -> None:
        """Take what mlpkit has written as JSON."""
        super().__init__(content)
        self.members = [[(step, _arrays(step)) for step in steps] for steps in content["members"]]

    @property
    def names(self) -> list[str]:
        """The names of the classes, or of the targets."""
        names: list[str] = self.content["classes"] or self.content["targets"]
        return names

    def predict(self, rows: Any) -> dict[str, Array]:
        """Return the predictions of raw rows.

        Args:
            rows: a list of dicts, or a dict of columns; an array or lists (rows, features) if the model
                reads no table.

        Returns:
            value (rows, targets) for a regression; else label (rows,) or (rows, labels), probabilities
            (rows, classes) and the name of each row's class.

        Raises:
            ValueError: a column is missing, a value cannot be used, or is too large.
        """
        outputs = self.forward(self.encode(rows))
        bad = np.flatnonzero(~np.isfinite(outputs).all(1))
        if len(bad):
            raise ValueError(f"row {bad[0] + 1}: the prediction is not finite: the inputs are too large")
        return self.decode(outputs)

    def forward(self, features: Array) -> Array:
        """Return the values (rows, targets), or the probabilities (rows, classes or labels)."""
        found = [self._forward(steps, features) for steps in self.members]
        return found[0] if len(found) == 1 else np.mean(found, axis=0, dtype=found[0].dtype)

    def decode(self, outputs: Array) -> dict[str, Array]:
        """Return the predictions that the values or the probabilities mean."""
        task = self.content["task"]
        if task == "regression":
            return {"value": outputs}
        if task == "multiclass":
            labels = outputs.argmax(1)
        else:
            above = outputs > self.content["threshold"]
            labels = (above if task == "multilabel" else above[:, 1]).astype(np.int64)
        found = {"label": labels, "probabilities": outputs}
        return {**found, "class": np.array(self.names)[labels]} if self.content["classes"] else found

    def to_columns(self, predictions: dict[str, Array]) -> dict[str, Array]:
        """Return the columns of a csv file."""
        if "value" in predictions:
            return dict(zip(self.names, predictions["value"].T, strict=True))
        probabilities = {
            f"p({name})": p for name, p in zip(self.names, predictions["probabilities"].T, strict=True)
        }
        if "class" in predictions:
            return {"label": predictions["label"], "class": predictions["class"], **probabilities}
        return {**dict(zip(self.names, predictions["label"].T, strict=True)), **probabilities}

    def read_csv(self, content: bytes) -> list[dict[str, str]]:
        """Return the rows of a csv file.

        It is read in the format of the training data; if columns are missing then, in the one that has them.

        Raises:
            ValueError: it is not a table.
        """
        text, given = _decoded(content, self.content["encoding"]), self.content
        plain = [{"column": name, "kind": "number"} for name in given["names"]]
        columns: list[dict[str, Any]] = given["columns"] or plain
        wanted = {column["column"] for column in columns}
        numbers = {column["column"] for column in columns if column["kind"] == "number"}
        names, rows = _table(text, given["separator"], given["header"])
        decimal = given["decimal"]
        if not wanted <= set(names):
            others = [_table(text, other, header) for other in "\t;|, " for header in (True, False)]
            names, rows = next((other for other in others if wanted <= set(other[0])), (names, rows))
            decimal = _decimal(names, rows, numbers)
        if (
            not wanted <= set(names) and not given["columns"]
        ):  # numbers without a header, in the features' order
            unnamed, all_rows = _table(text, given["separator"], False)
            if len(unnamed) == len(wanted) and all(NUMBER.fullmatch(of.strip()) for of in all_rows[0][1]):
                names, rows, decimal = list(given["names"]), all_rows, given["decimal"]
        if len(set(names)) < len(names):
            raise ValueError("a column appears twice")
        found = []
        for line, values in rows:
            if len(values) != len(names):
                raise ValueError(f"line {line}: {len(values)} values for {len(names)} columns")
            row = dict(zip(names, values, strict=True))
            found.append({n: cell.replace(decimal, ".") if n in numbers else cell for n, cell in row.items()})
        return found

    def main(self) -> int:
        """Read the csv file that is named on the command line, and print the predictions as csv."""
        if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
            print(f"usage: {Path(sys.argv[0]).name} FILE.csv (- is stdin)", file=sys.stderr)
            return 2
        is_stdin = sys.argv[1] == "-"
        try:
            content = sys.stdin.buffer.read() if is_stdin else Path(sys.argv[1]).read_bytes()
            columns = self.to_columns(self.predict(self.read_csv(content)))
        except (OSError, ValueError, csv.Error) as error:
            name = "stdin" if is_stdin else sys.argv[1]
            print(f"{name}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
            return 65
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        try:
            sys.stdout.buffer.write(text.getvalue().encode())
            sys.stdout.flush()
        except BrokenPipeError:  # the reader wants no more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        return 0

    def _forward(self, steps: list[tuple[dict[str, Any], dict[str, Array]]], features: Array) -> Array:
        dtype = next(iter(arrays for step, arrays in steps if step["kind"] == "linear"))["weight"].dtype
        x: Array = features.astype(dtype)
        with np.errstate(over="ignore", under="ignore"):
            for step, arrays in steps:
                x = _STEPS[step["kind"]](x, step, arrays)
            if self.content["task"] == "binary":
                return np.concatenate((_sigmoid(-x), _sigmoid(x)), axis=1)
            if self.content["task"] == "multilabel":
                return _sigmoid(x)
            if self.content["task"] == "multiclass":
                x = np.exp(x - x.max(1, keepdims=True))
                x = x / x.sum(1, keepdims=True)
        return x


def _decoded(content: bytes, encoding: str) -> str:
    """Return a text. Its encoding is found, unless it is one that cannot be."""
    marks = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
    marked = next((name for mark, name in marks.items() if content.startswith(mark)), None)
    if encoding in ("utf-8", "utf-8-sig", "utf-16", "cp1252"):
        encoding = marked or "utf-8"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if marked or encoding != "utf-8" or not content[: error.start].isascii():
            raise ValueError(f"not {encoding}; save it as UTF-8") from None
        text = content.decode("cp1252")
    if "\0" in text:
        raise ValueError("a NUL byte, which is not text")
    return text


def _table(text: str, separator: str, header: bool) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the names of the columns, and the rows with the numbers of their lines."""
    found = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows = [(found.line_num, cells) for cells in found if cells]
    if len(rows) < 1 + header:
        raise ValueError("no rows; it must hold a line of column names and a line for each row")
    names = [(cell.strip() if header else "") or f"c{place}" for place, cell in enumerate(rows[0][1], 1)]
    return names, rows[1:] if header else rows


def _decimal(names: list[str], rows: list[tuple[int, list[str]]], numbers: set[str]) -> str:
    """Return the decimal mark of the numbers, a dot or a comma."""
    cells = [cell for _, row in rows for name, cell in zip(names, row, strict=False) if name in numbers]
    marks = [found[1] for cell in cells for found in [FRACTION.fullmatch(cell.strip())] if found]
    return "," if marks.count(",") > marks.count(".") else "."


def _arrays(step: dict[str, Any]) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for name, array in step["arrays"].items():
        numbers = np.frombuffer(base64.b64decode(array["data"]), np.dtype(array["dtype"]).newbyteorder("<"))
        found[name] = numbers.reshape(array["shape"]).astype(array["dtype"])
    return found


def _sigmoid(z: Array) -> Array:
    small = np.exp(-np.abs(z))
    found: Array = np.where(z >= 0, 1 / (1 + small), small / (1 + small))
    return found


def _softplus(z: Array) -> Array:
    found: Array = np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0)
    return found


def _layer_norm(x: Array, step: dict[str, Any], arrays: dict[str, Array]) -> Array:
    centred = x - x.mean(1, keepdims=True)
    spread = np.sqrt((centred**2).mean(1, keepdims=True) + x.dtype.type(step["eps"]))
    found: Array = centred / spread * arrays["weight"] + arrays["bias"]
    return found


def _periodic(x: Array, step: dict[str, Any], arrays: dict[str, Array]) -> Array:
    """Add to some numbers among x the values of their waves; (numbers, rows, ...) within."""
    turns = x.T[arrays["numbers"]][..., None] * x.dtype.type(2 * math.pi)
    waves = np.cos(turns * arrays["frequency"][:, None] + arrays["phase"][:, None])
    values = waves @ arrays["weight"].transpose(0, 2, 1) + arrays["bias"][:, None]
    return np.concatenate((x, values.transpose(1, 0, 2).reshape(len(x), -1)), axis=1)


def _inverse_yeo_johnson(x: Array, step: dict[str, Any], arrays: dict[str, Array]) -> Array:
    x = np.clip(x, arrays["lowest"], arrays["highest"])
    power = np.where(x < 0, 2 - arrays["power"], arrays["power"])
    safe = np.where(power == 0, 1, power)
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.where(power == 0, np.abs(x), np.log1p(safe * np.abs(x)) / safe)
    return np.copysign(np.expm1(logs), x)


ACTIVATIONS: dict[str, Any] = {
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z >= 0, z, z * z.dtype.type(0.01)),
    "elu": lambda z: np.where(z >= 0, z, np.expm1(np.minimum(z, 0))),
    "gelu": lambda z: z * (0.5 * (1 + np.reshape([math.erf(v / math.sqrt(2)) for v in z.flat], z.shape))),
    "silu": lambda z: z * _sigmoid(z),
    "mish": lambda z: z * np.tanh(_softplus(z)),
    "selu": lambda z: (
        1.0507009873554805 * np.where(z >= 0, z, 1.6732632423543772 * np.expm1(np.minimum(z, 0)))
    ),
    "softplus": _softplus,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "identity": lambda z: z,
}

_STEPS: dict[str, Any] = {
    "standardize": lambda x, step, arrays: (x - arrays["mean"]) / arrays["std"],
    "linear": lambda x, step, arrays: x @ arrays["weight"].T + arrays["bias"],
    "clip": lambda x, step, arrays: np.clip(x, arrays["lowest"], arrays["highest"]),
    "periodic": _periodic,
    "columns": lambda x, step, arrays: x * arrays["scale"] + arrays["shift"],
    "layer_norm": _layer_norm,
    "activation": lambda x, step, arrays: ACTIVATIONS[step["name"]](x).astype(x.dtype),
    "prelu": lambda x, step, arrays: np.where(x >= 0, x, x * arrays["weight"]),
    "exp": lambda x, step, arrays: np.exp(x),
    "inverse_yeo_johnson": _inverse_yeo_johnson,
}
