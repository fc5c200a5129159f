"""`mlpkit importance --column`: partial dependence, as scikit-learn has it."""

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tables
import torch
from exporting import Models
from running import train
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.inspection import partial_dependence as of_sklearn

from mlpkit.analysis.dependence import CURVES, POINTS, partial_dependence
from mlpkit.analysis.predict import Predictor, load_predictor, members_of
from mlpkit.cli.main import run as command
from mlpkit.data.encode import encode, scaled, unscaled
from mlpkit.data.encoder import Linear, Log, Quantile, Scale, SmoothClip
from mlpkit.errors import ConfigError

QUICK = ("run.plots=false", "run.loggers=[]", "trainer.epochs=3")


class Fitted(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A trained model as scikit-learn's functions want it."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.is_fitted_ = predictor, True

    def fit(self, rows: Any, true: Any) -> "Fitted":
        return self

    def predict(self, rows: Any) -> Any:
        return self.predictor.outputs(torch.from_numpy(np.ascontiguousarray(rows))).numpy()[:, 0]


@pytest.fixture(scope="module")
def diabetes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A regression of three members."""
    root = tmp_path_factory.mktemp("diabetes")
    return train(root, "dataset=diabetes", "model=mlp", "model.members=3", *QUICK).path


def test_means_and_curves_are_those_of_sklearn(diabetes: Path) -> None:
    predictor, _ = load_predictor(diabetes / "checkpoints/best.safetensors")
    inputs = torch.randn(80, 10, generator=torch.Generator().manual_seed(0))
    found = partial_dependence(predictor, inputs, "bmi")
    place = predictor.input_schema.columns.index("bmi")
    assert len(found.values) == POINTS and found.curves.shape == (CURVES, POINTS, 1)
    spec = predictor.input_schema.encoder
    grid = np.array(found.values)
    if spec is not None:
        grid = scaled(grid, spec.columns[place].scale)  # type: ignore[union-attr]
    expected = of_sklearn(
        Fitted(predictor), inputs.numpy(), [place], kind="both", custom_values={place: grid.astype("float32")}
    )
    np.testing.assert_allclose(found.mean[:, 0].numpy(), expected.average[0], rtol=1e-5)
    some = np.linspace(0, 79, CURVES).astype(int)
    np.testing.assert_allclose(found.curves[:, :, 0].numpy(), expected.individual[0][some], rtol=1e-5)


def test_the_interval_is_that_of_the_members(diabetes: Path) -> None:
    predictor, _ = load_predictor(diabetes / "checkpoints/best.safetensors")
    inputs = torch.randn(40, 10, generator=torch.Generator().manual_seed(0))
    found = partial_dependence(predictor, inputs, "age")
    each = [partial_dependence(member, inputs, "age").mean for member in members_of(predictor)]
    half = 4.302652729911275 * torch.stack(each).std(0)  # t of 2 degrees of freedom
    assert found.low is not None and found.high is not None
    torch.testing.assert_close(found.low, torch.stack(each).mean(0) - half)
    torch.testing.assert_close(found.high, torch.stack(each).mean(0) + half)
    assert partial_dependence(members_of(predictor)[0], inputs, "age").low is None


@pytest.mark.sampled(3)
@pytest.mark.parametrize("column", ["city", "smoker", "income", "calls", "age"])
def test_values_are_raw_ones(models: Models, column: str) -> None:
    """The mean is that of the raw rows in which the column has been overwritten."""
    predictor, _ = load_predictor(models.run("scales") / "checkpoints/best.safetensors")
    encoder = predictor.input_schema.encoder
    assert encoder is not None
    rows, names = tables.customers(60, seed=3), [spec.column for spec in encoder.columns]
    raw = {name: [row[name] or None for row in rows] for name in names}

    def encoded(changed: dict[str, list[Any]]) -> torch.Tensor:
        return torch.from_numpy(encode(encoder, pa.table(raw | changed), "rows", str).values)

    found = partial_dependence(predictor, encoded({}), column)
    for value, mean in zip(found.values, found.mean, strict=True):
        probabilities = predictor.predict(encoded({column: [value] * 60})).probabilities
        assert probabilities is not None
        torch.testing.assert_close(probabilities[:, 1:].double().mean(0), mean, rtol=1e-5, atol=1e-6)


def test_the_command_writes_csv_and_pictures(models: Models, tmp_path: Path) -> None:
    columns = ("--column", "city", "--column", "income", "--split", "val", "--output")
    run, output, picture = str(models.run("scales")), tmp_path / "dependence.csv", tmp_path / "d.png"
    assert command(["importance", run, *columns, str(output)]) == 0
    with output.open() as stream:
        rows = list(csv.DictReader(stream))
    incomes = [float(row["value"]) for row in rows if row["column"] == "income"]
    assert incomes == sorted(incomes) and len(incomes) == POINTS and incomes[0] > 1000
    assert {row["output"] for row in rows} == {"yes"} and {row["low"] for row in rows} == {""}
    assert command(["importance", run, *columns, str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "scale",
    [Linear(2.0, 3.0), Log(1.5, 0.5), SmoothClip(2.0, 3.0), Quantile((0.0, 1.0, 2.5, 2.75, 9.0))],
    ids=lambda scale: scale.kind,
)
def test_unscaled_is_the_inverse_of_scaled(scale: Scale) -> None:
    values = np.linspace(0.1, 8.9, 50)
    np.testing.assert_allclose(unscaled(scaled(values, scale), scale), values, rtol=1e-9)
    if not isinstance(scale, Quantile):
        np.testing.assert_allclose(unscaled(scaled(-values, scale), scale), -values, rtol=1e-9)


def test_refused(models: Models) -> None:
    for kind, column, words in (("dates", "day", "holds dates"), ("scales", "agee", "did you mean age?")):
        predictor, _ = load_predictor(models.run(kind) / "checkpoints/best.safetensors")
        inputs = torch.zeros(3, len(predictor.input_schema.features))
        with pytest.raises(ConfigError, match=re.escape(words)):
            partial_dependence(predictor, inputs, column)
