"""A trained model that needs Python and NumPy alone; mlpkit writes a copy of this text into its exports.

predict([{"age": 41, "city": "Oslo"}])          rows, or columns: {"age": [41], "city": ["Oslo"]}
python model.py rows.csv > predictions.csv      - stands for stdin
"""

from __future__ import annotations

import base64
import csv
import io
import math
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from mlpkit.deploy.numpy_encoder import Array, Encoder


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

    def read_csv(self, text: str) -> list[dict[str, str]]:
        """Return the rows of a csv file; it has the separator of the training data, or commas."""
        separator, decimal = self.content["separator"], self.content["decimal"]
        if separator not in text.partition("\n")[0]:
            separator, decimal = ",", "."
        numbers = {of["column"] for of in self.content["columns"] or () if of["kind"] == "number"}
        found = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        names = [name.strip() for name in next(found, [])]
        return [
            {
                name: cell.replace(decimal, ".") if name in numbers else cell
                for name, cell in zip_longest(names, cells[: len(names)], fillvalue="")
            }
            for cells in found
            if cells
        ]

    def main(self) -> int:
        """Read the csv file that is named on the command line, and print the predictions as csv."""
        if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
            print(f"usage: {Path(sys.argv[0]).name} FILE.csv (- is stdin)", file=sys.stderr)
            return 2
        try:
            text = sys.stdin.read() if sys.argv[1] == "-" else Path(sys.argv[1]).read_text("utf-8-sig")
            columns = self.to_columns(self.predict(self.read_csv(text)))
        except (OSError, ValueError, csv.Error) as error:
            print(f"{sys.argv[1]}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
            return 65
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
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


def _inverse_yeo_johnson(x: Array, step: dict[str, Any], arrays: dict[str, Array]) -> Array:
    x = np.clip(x, arrays["lowest"], arrays["highest"])
    power = np.where(x < 0, 2 - arrays["power"], arrays["power"])
    safe = np.where(power == 0, 1, power)
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.where(power == 0, np.abs(x), np.log1p(safe * np.abs(x)) / safe)
    return np.copysign(np.expm1(logs), x)


_ACTIVATIONS: dict[str, Any] = {
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
    "columns": lambda x, step, arrays: x * arrays["scale"] + arrays["shift"],
    "layer_norm": _layer_norm,
    "activation": lambda x, step, arrays: _ACTIVATIONS[step["name"]](x).astype(x.dtype),
    "exp": lambda x, step, arrays: np.exp(x),
    "inverse_yeo_johnson": _inverse_yeo_johnson,
}
