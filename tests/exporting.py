"""Small trained models of all kinds, for the tests of exports, and rows for them."""

import csv
import io
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tables
from running import train

from mlpkit.cli.main import run as command
from mlpkit.config import registry

QUICK = ("trainer.epochs=2", "run.plots=false", "run.tensorboard=false", "run.loggers=[]")
MLP = ("model=mlp", "model.hidden=[6,5]")
EVERY_PART = "{type: date, parts: [year, month, day, weekday, hour, days]}"
SCALES = [f"dataset.columns.{name}.scale={scale}" for name, scale in (("age", "quantile"), ("income", "log"))]
SCALES += ["dataset.columns.calls.scale=robust", "dataset.columns.household.scale=minmax"]
SCALES += ["dataset.columns.city.min_count=40", f"dataset.columns.signup={EVERY_PART}"]
RECIPE = ("dataset.scale=smooth_clip", "dataset.signed=true", "dataset.clip_predictions=true")
RECIPE = (*RECIPE, "model.embedding=periodic", "model.embedding_frequencies=4", "model.input_scale=true")

# Each is a kind of model: the target of the table or a dataset, and settings.
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "line": ("dataset=line", ("model=linear", "dataset.standardize=true")),
    "binary": ("churned", (*MLP, "model.norm=batch", "model.dropout=0.2")),
    "scales": ("churned", (*MLP, "model.norm=layer", *SCALES)),
    "multiclass": ("city", (*MLP, "dataset.val_fraction=0")),
    "multilabel": ("[churned,smoker]", (*MLP, "dataset.task=multilabel")),
    "log": ("income", (*MLP, "dataset.target_transform=log")),
    "yeo_johnson": ("[income,calls]", (*MLP, "dataset.target_transform=yeo_johnson", "model.bias=false")),
    "recipe": ("income", (*MLP, "dataset.target_transform=log", *RECIPE)),
    "clipped": (
        "dataset=diabetes",
        ("model=linear", "dataset.standardize=false", "dataset.clip_predictions=true"),
    ),
    "dates": ("dates.csv", ("model=linear", f"dataset.columns.day={EVERY_PART}")),
    "poisson": ("calls", ("model=linear", "loss=poisson")),
    "float64": ("churned", (*MLP, "trainer.precision=float64")),
    "pictures": ("dataset=digits", ("model=logistic",)),
    "refusing": (
        "churned",
        ("model=logistic", "dataset.columns.city.unknown=refuse", "dataset.ignore=[age]"),
    ),
    **{
        f"{name} activation": (
            "dataset=moons",
            (*MLP, f"model.activation={name}", "dataset.standardize=true"),
        )
        for name in registry.choices("activation")
        if name
        in (
            "relu",
            "leaky_relu",
            "prelu",
            "elu",
            "gelu",
            "silu",
            "mish",
            "selu",
            "softplus",
            "tanh",
            "sigmoid",
            "identity",
        )
    },
}


def is_quick(kind: str) -> bool:
    """Whether `make test` tries a kind where each takes long: of the activations, only two."""
    return not kind.endswith(" activation") or kind in ("gelu activation", "prelu activation")


# Models and activations of the user's own, which are code.
OWN = '''
from typing import Literal

from mlpkit.config.activation import ActivationConfig
from mlpkit.config.model import ModelConfig
from mlpkit.config.registry import choice


@choice("activation")
class Cubic(ActivationConfig):
    """The cube."""

    name: Literal["cubic"]

    def function(self, z):
        return z**3


@choice("model")
class Wide(ModelConfig):
    """A module."""

    name: Literal["wide"]

    def build(self, features, width):
        from torch import nn

        return nn.Sequential(nn.Linear(features, 8), nn.Softsign(), nn.Linear(8, width))


@choice("model")
class Tall(ModelConfig):
    """A module of layers that all formats can hold."""

    name: Literal["tall"]

    def build(self, features, width):
        from torch import nn

        first = nn.Sequential(nn.Linear(features, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1))
        return nn.Sequential(first, nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, width))


@choice("model")
class Leaky(ModelConfig):
    """A layer with a parameter that is not the usual one."""

    name: Literal["leaky"]

    def build(self, features, width):
        from torch import nn

        return nn.Sequential(nn.Linear(features, 8), nn.LeakyReLU(0.2), nn.Linear(8, width))


@choice("model")
class Forward(ModelConfig):
    """A module with a forward of its own."""

    name: Literal["forward"]

    def build(self, features, width):
        from torch import nn

        class Twice(nn.Linear):
            def forward(self, x):
                return 2 * super().forward(x)

        return Twice(features, width)
'''


class Models:
    """Trains each model when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.table = tables.write_csv(root / "customers.csv", tables.customers())
        self.trained: dict[str, Path] = {}

    def run(self, kind: str) -> Path:
        """Return the run folder of a kind of model."""
        if kind not in self.trained:
            about, settings = KINDS[kind]
            of = tables.of(self.table, target=about)
            if about.startswith("dataset="):
                of = (about,)
            elif about.endswith(".csv"):
                of = tables.of(write_dates(self.root / about), target="y")
            self.trained[kind] = train(self.root, *of, *settings, *QUICK).path
        return self.trained[kind]

    def sweep(self) -> Path:
        """Return a sweep of three seeds."""
        if "sweep" not in self.trained:
            of = (
                *tables.of(self.table),
                *MLP,
                *QUICK,
                f"run.root={self.root / 'sweeps'}",
                "run.progress=none",
            )
            assert command(["train", "-m", *of, "seed=0,1,2"]) == 0
            (self.trained["sweep"],) = (self.root / "sweeps").rglob("sweep-*")
        return self.trained["sweep"]


def write_dates(path: Path) -> Path:
    """Write a table of dates and times from 1880 to 2120, some of them at the ends of months."""
    draw = random.Random(0)
    rows: list[dict[str, object]] = []
    for _ in range(400):
        year, month = draw.randint(1880, 2120), draw.randint(1, 12)
        day = draw.choice((1, 28, 29 if year % 4 == 0 and year != 1900 and year != 2100 else 27))
        time = f"{draw.choice((0, 11, 23)):02d}:{draw.choice((0, 59)):02d}:{draw.choice((0, 59)):02d}"
        rows.append({"day": f"{year}-{month:02d}-{day:02d} {time}", "y": year + month / 10 + draw.random()})
    return tables.write_csv(path, rows)


def export(format_: str, folder: Path, *arguments: str | Path) -> dict[str, Any]:
    """Export into a folder, which checks the file against mlpkit; return the manifest."""
    words = ["export", *map(str, arguments), "--format", format_, "--output", str(folder)]
    assert command(words) == 0
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    assert manifest["check"]["rows"] >= 200
    assert manifest["check"]["largest_difference"] <= manifest["check"]["allowed_difference"] <= 1e-3
    return manifest


def odd_rows(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Return rows with texts as people write them: spaces, 3.0 for 3, NA, times, other spellings of yes."""
    odd = [{name: str(value) for name, value in row.items()} for row in rows]
    odd[0] |= {
        "age": "NA",
        "city": " Oslo ",
        "plan": "3.0",
        "smoker": "TRUE",
        "signup": "2023-02-03T04:05:06Z",
    }
    odd[1] |= {
        "age": "+4.1e1",
        "city": "Berlin",
        "plan": "9",
        "smoker": "maybe",
        "signup": "2023-02-03 23:59",
    }
    odd[2] |= {"age": "", "city": "?", "plan": "", "smoker": "n/a", "signup": ""}
    return list(odd)


def predicted(run: Path, rows: Sequence[dict[str, object]], folder: Path, *options: str) -> dict[str, Any]:
    """Return the columns that `mlpkit predict` gives for rows."""
    source, target = tables.write_csv(folder / "rows.csv", rows), folder / "predicted.csv"
    assert command(["predict", str(run), "--input", str(source), "--output", str(target), *options]) == 0
    return read_columns(target.read_text(encoding="utf-8"))


def read_columns(text: str) -> dict[str, Any]:
    """Return the columns of a csv text: numbers as an array, else texts."""
    found = list(csv.DictReader(io.StringIO(text)))
    columns: dict[str, Any] = {}
    for name in found[0]:
        texts = [row[name] for row in found]
        try:
            columns[name] = np.array(texts, float)
        except ValueError:
            columns[name] = texts
    return columns


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Check that two files of predictions say the same."""
    assert list(found) == list(expected)
    for name, values in expected.items():
        if isinstance(values, list):
            assert found[name] == values
        else:
            np.testing.assert_allclose(found[name], values, rtol=2e-5, atol=2e-6)
