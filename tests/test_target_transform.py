"""Targets are transformed before training and back in all that is said of them, in their own units."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Refused
from engines import KINDS, Kind, engine_of, evaluated, network_of
from running import config, train
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.preprocessing import PowerTransformer
from tables import load, of, write_csv

from mlpkit.analysis.evaluate import evaluate
from mlpkit.analysis.predict import load_predictor
from mlpkit.analysis.weights import readable_weights
from mlpkit.cli.main import run as command
from mlpkit.data.target_scaling import (
    LogScaling,
    YeoJohnsonScaling,
    fit_target_scaling,
    inverse_yeo_johnson,
    yeo_johnson,
)
from mlpkit.errors import ConfigError
from mlpkit.folders import checkpoint
from mlpkit.models.architecture import architecture
from mlpkit.models.torch_layers import UnscalingLog, UnscalingYeoJohnson

TRANSFORMS = ("log", "yeo_johnson")
QUICK = ("run.plots=false", "run.tensorboard=false")
FITTED = (
    "model=linear", "optimizer=sgd", "optimizer.lr=0.3", "trainer.batch_size=full",
    "trainer.precision=float64",
)  # fmt: skip


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table whose prices grow exponentially with size and age."""
    draw = np.random.default_rng(0)
    size, age = draw.uniform(0, 3, 300), draw.uniform(0, 1, 300)
    price = np.exp(2 * size - age + draw.normal(0, 0.2, 300)).astype(np.float32)
    rows: list[dict[str, object]] = [
        {"size": a, "age": b, "price": c} for a, b, c in zip(size, age, price.tolist(), strict=True)
    ]
    return write_csv(tmp_path_factory.mktemp("houses") / "houses.csv", rows)


def settings(houses: Path, transform: str, *more: str) -> tuple[str, ...]:
    return (*of(houses, f"dataset.target_transform={transform}", target="price"), *FITTED, *more)


def test_the_transform_is_scikit_learns(houses: Path) -> None:
    """Its λ is fitted on the training rows alone; values, negative ones as well, are transformed alike."""
    targets = load(houses, target="price").splits["train"].targets
    mixed = torch.cat((targets, 10 - targets, torch.randn(len(targets), 1) ** 3), dim=1)
    exact, transformer = mixed.double().numpy(), PowerTransformer(method="yeo-johnson")
    expected = transformer.fit_transform(exact)
    found = fit_target_scaling(mixed, "abc", "yeo_johnson", standardize=True)
    assert isinstance(found, YeoJohnsonScaling)
    np.testing.assert_allclose(found.power, transformer.lambdas_, rtol=1e-6)
    np.testing.assert_allclose(found.apply(mixed), expected, atol=1e-4)
    of_run = load(houses, "dataset.target_transform=yeo_johnson", target="price").target_scaling
    assert isinstance(of_run, YeoJohnsonScaling)
    assert of_run.power[0] == found.power[0]
    of_run = load(houses, "dataset.target_transform=log", target="price").target_scaling
    assert isinstance(of_run, LogScaling)
    assert of_run.mean.item() == pytest.approx(targets.double().log().mean().item())


@pytest.mark.parametrize("power", [-3.0, -1.0, 0.0, 0.4, 1.0, 2.0, 3.5])
def test_the_inverse_of_yeo_johnson(power: float) -> None:
    values, powers = torch.linspace(-9, 9, 100).double()[:, None], torch.tensor([power], dtype=torch.float64)
    transformed = yeo_johnson(values, powers)
    torch.testing.assert_close(inverse_yeo_johnson(transformed, powers), values)
    transformer = PowerTransformer(standardize=False).fit(values.numpy())
    transformer.lambdas_ = np.array([power])
    np.testing.assert_allclose(transformed, transformer.transform(values.numpy()), rtol=1e-12)


def test_where_there_is_no_inverse_a_prediction_is_the_farthest_training_target() -> None:
    targets = (1 / torch.linspace(0.02, 1, 200))[:, None]
    found = fit_target_scaling(targets, "y", "yeo_johnson", standardize=True)
    assert isinstance(found, YeoJohnsonScaling)
    assert found.power.item() < 0
    layer = UnscalingYeoJohnson(found)
    assert layer(torch.tensor([[50.0]])).item() == pytest.approx(targets.max().item(), rel=1e-3)
    assert layer(torch.tensor([[-50.0]])).item() < targets.min().item()


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_linear_model_is_that_of_scikit_learn(houses: Path, kind: Kind, transform: str) -> None:
    """In both engines: the predictions, and the scores in the targets' units."""
    engine = engine_of(kind, *settings(houses, transform))
    for step in range(200):
        engine.step(slice(None), [0.3], step, step, measure=False)
        engine.collect()
    train, test = (engine.experiments[0].dataset.splits[name] for name in ("train", "test"))
    x, y = train.inputs.double().numpy(), train.targets.double().numpy()
    how = (
        {"func": np.log, "inverse_func": np.exp}
        if transform == "log"
        else {"transformer": PowerTransformer(standardize=False)}
    )
    fitted = TransformedTargetRegressor(LinearRegression(), **how).fit(x, y)
    expected = fitted.predict(test.inputs.double().numpy())
    with torch.no_grad():
        np.testing.assert_allclose(network_of(engine)(test.inputs.double()), expected, rtol=1e-4)
    scores, true = evaluated(engine, "test"), test.targets.double().numpy()
    assert scores["r2"] == pytest.approx(r2_score(true, expected), rel=1e-4)
    assert scores["mae"] == pytest.approx(mean_absolute_error(true, expected), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_folds_that_train_together_have_a_transform_each(houses: Path, kind: Kind) -> None:
    chosen = [config(*QUICK, *settings(houses, "yeo_johnson", f"dataset.fold={fold}")) for fold in range(3)]
    together = engine_of(kind, configs=chosen)
    alone = [engine_of(kind, configs=[of]) for of in chosen]
    for engine in (together, *alone):
        for step in range(5):
            engine.step(slice(None), [0.3] * len(engine.optimizers.blocks), step, step, measure=False)
            engine.collect()
    sums = np.asarray(together.evaluate("test"))
    expected = np.transpose([of.evaluate("test") for of in alone])
    np.testing.assert_allclose(sums, expected, rtol=1e-6)
    rest = together.select_runs([1, 2])
    np.testing.assert_allclose(rest.evaluate("test"), expected[:, 1:], rtol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_predict_and_evaluate_answer_in_the_targets_units(
    houses: Path, tmp_path: Path, transform: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path, *settings(houses, transform), *QUICK, "trainer.epochs=60")
    predictor, stored = load_predictor(run.last)
    rows = load(houses, target="price").splits["val"]
    scores = evaluate(predictor, "val", rows).scores
    assert scores["r2"] > 0.9
    assert scores == pytest.approx(stored.state.scores["val"], rel=1e-6)
    capsys.readouterr()
    assert command(["predict", str(run.path), "--input", str(houses)]) == 0
    printed = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    with houses.open() as stream:
        true = [float(row["price"]) for row in csv.DictReader(stream)]
    found = np.array([float(row["price"]) for row in printed])
    assert np.median(np.abs(np.log(found / true))) < 0.25
    assert command(["evaluate", str(run.path), "--input", str(houses)]) == 0
    assert "r2" in capsys.readouterr().out
    assert command(["plot", str(run.path)]) == 0
    names = architecture(stored.config, stored.input_schema)
    weights = readable_weights(names, stored.input_schema, lambda name: stored.state.model[name].tolist())
    assert next(name for name, _ in weights) == f"{transform}(price): size"


def test_the_transform_lies_in_the_checkpoint(houses: Path, tmp_path: Path) -> None:
    run = train(tmp_path, *settings(houses, "yeo_johnson"), *QUICK, "trainer.epochs=2")
    stored = checkpoint.load(run.last, checkpoint.KINDS)
    scaling = load(houses, "dataset.target_transform=yeo_johnson", target="price").target_scaling
    assert isinstance(scaling, YeoJohnsonScaling)
    for name in ("mean", "std", "power", "lowest", "highest"):
        assert stored.state.model[f"unscaling.{name}"].float().equal(getattr(scaling, name))


def test_without_standardising_the_transform_stands_alone(houses: Path) -> None:
    engine = engine_of(KINDS[0], *settings(houses, "log", "dataset.standardize=false"))
    layer = network_of(engine).unscaling
    assert isinstance(layer, UnscalingLog)
    assert (layer.mean.item(), layer.std.item()) == (0, 1)
    targets = engine.data.splits["train"].targets.chunk(2, dim=1)[0]
    torch.testing.assert_close(engine.data.splits["train"].scaled, targets.log())


def test_the_step_is_not_compiled(houses: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"it does not know dataset\.target_transform"):
        train(tmp_path, *settings(houses, "log"), *QUICK, "trainer.compile=true")


def test_what_cannot_be_transformed_is_one_line(tmp_path: Path, refused: Refused) -> None:
    rows: list[dict[str, object]] = [{"x": place / 7, "y": place * 0.3 % 7 - 1e-9} for place in range(60)]
    write_csv(tmp_path / "t.csv", rows)
    given = ("data=t.csv", "target=y", "dataset.target_transform=log")
    path = tmp_path / "t.csv"
    assert refused("train", *given, code=65) == (
        f"{path}:2: column y: -1e-09 has no logarithm, which dataset.target_transform=log takes; correct it, "
        "or set target_transform=yeo_johnson"
    )
    classes = refused("train", "dataset=iris", "dataset.target_transform=log", code=2)
    assert classes.startswith("dataset.target_transform=log: only for a regression, but the task is multi")


def test_a_labelled_file_with_a_target_that_has_no_logarithm(
    houses: Path, tmp_path: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path / "runs", *settings(houses, "log"), *QUICK, "trainer.epochs=2")
    write_csv(tmp_path / "t.csv", [{"size": 1, "age": 1, "price": price} for price in (1, 0.5, 0)])
    capsys.readouterr()
    line = refused("evaluate", str(run.path), "--input", "t.csv", code=65)
    assert line.startswith("t.csv:4: column price: 0")
    assert "has no logarithm" in line


def test_targets_that_the_transform_crushes_are_refused() -> None:
    draw = torch.Generator().manual_seed(0)
    targets = 2000 + 3 * torch.randn(300, 1, generator=draw) ** 2
    with pytest.raises(ConfigError, match="the target year cannot be transformed back precisely"):
        fit_target_scaling(targets, ["year"], "yeo_johnson", standardize=True)
