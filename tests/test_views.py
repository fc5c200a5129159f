"""`dataset.test_time_augment`: the mean prediction over copies of an image."""

import copy
import json
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Refused
from engines import KINDS, Kind, engine_of, network_of
from exporting import export
from running import config, train
from scipy.ndimage import affine_transform
from test_augment import pictures
from torch import Tensor, nn

from mlpkit.analysis.predict import load_predictor, members_of, predictor_of
from mlpkit.cli.main import run as command
from mlpkit.config.dataset import ViewOptions
from mlpkit.data.load import load_dataset
from mlpkit.data.views import Views
from mlpkit.engines.manual import ManualGradients
from mlpkit.folders import checkpoint

OPTIONS = ViewOptions(rotation=10, translation=1.5)
DIGITS = (
    "dataset=digits",
    "dataset.test_fraction=0.5",
    "model.hidden=[9]",
    "trainer.batch_size=64",
)
VIEWS = ("dataset.test_time_augment.rotation=10", "dataset.test_time_augment.translation=0.7")
QUIET = ("run.plots=false", "run.loggers=[]", "trainer.epochs=2")
MLP = "model=mlp"
EXACT = ("trainer.precision=float64",)


def by_scipy(image: np.ndarray, angle: float, right: float, down: float) -> np.ndarray:
    """Return a view of one channel: each pixel is taken from a place turned around the centre and shifted."""
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    matrix = np.array([[cosine, sine], [-sine, cosine]])  # of (row, column)
    centre = (np.array(image.shape) - 1) / 2
    offset = centre + np.array([down, right]) - matrix @ centre
    view: np.ndarray = affine_transform(image, matrix, offset, order=1, mode="grid-constant")
    return view


@pytest.mark.parametrize("shape", [(8, 8), (10, 17), (3, 9, 12)])
@pytest.mark.parametrize(
    ("options", "angles", "shifts"),
    [
        (OPTIONS, (10, -10), (1.5, -1.5)),
        (ViewOptions(rotation=30), (30, -30), (0,)),
        (ViewOptions(translation=20), (0,), (20, -20)),
    ],
)
def test_views_of_scaled_images_are_those_of_scipy(
    shape: tuple[int, ...], options: ViewOptions, angles: tuple[float, ...], shifts: tuple[float, ...]
) -> None:
    *channels, height, width = shape
    images = pictures(4 * math.prod(channels), height, width).double().reshape(4, *shape) + 0.1
    views, black = Views(options, shape), torch.tensor(-0.4, dtype=torch.float64)
    found = views.of_rows(images.flatten(1) / 0.3 + black, black)  # scaled
    combinations = list(product(angles, shifts, shifts))
    assert found.shape == (len(views) * 4, math.prod(shape)) and len(views) == len(combinations)
    for copies, combination in zip(found.chunk(len(views)), combinations, strict=True):
        for image, copied in zip(
            images.reshape(-1, height, width), copies.reshape(-1, height, width), strict=True
        ):
            expected = torch.from_numpy(by_scipy(image.numpy(), *combination))
            torch.testing.assert_close((copied - black) * 0.3, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("shape", [(10, 17), (3, 9, 12)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_takes_a_view_itself(shape: tuple[int, ...], bias: bool) -> None:
    pixels, random = math.prod(shape), torch.Generator().manual_seed(0)
    views, layer = Views(OPTIONS, shape), nn.Linear(pixels, 5, bias=bias, dtype=torch.float64)
    images = torch.randn(6, pixels, generator=random, dtype=torch.float64)
    black = torch.full((pixels,), -0.4, dtype=torch.float64)
    for view, rows in enumerate(views.of_rows(images, black).chunk(len(views))):
        weight, own_bias = views.into_layer(view, layer.weight, layer.bias, black)
        torch.testing.assert_close(images @ weight.T + own_bias, layer(rows))


def mean_over_views(network: nn.Module, images: Tensor) -> Tensor:
    """Return the mean probabilities of raw images, for a network without views."""
    views = Views(ViewOptions(rotation=10, translation=0.7), (8, 8))
    outputs = [network(rows).softmax(-1) for rows in views.of_rows(images, images.new_zeros(64)).chunk(8)]
    each = torch.stack(outputs)
    return each.mean(0) if each.dim() == 3 else each.mean((0, 1))  # also over members that share weights


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "model", [("model=mlp",), ("model=mlp", "model.norm=batch"), ("model=tabm", "model.members=3")], ids=str
)
def test_scores_are_those_of_the_mean(kind: Kind, model: tuple[str, ...]) -> None:
    """In the engine, where images are changed, and in the predictor, where weights are."""
    configs = [config(*DIGITS, *VIEWS, *EXACT, *model, f"seed={seed}") for seed in range(2)]
    for runs in (configs[:1], configs):
        engine = engine_of(kind, configs=runs)
        for step, rows in zip(range(3), engine.rows_of_steps(0, 0), strict=False):
            assert not engine.step(rows, [0.01] * len(engine.blocks), 0, step, measure=False)
        outputs = engine.outputs("val").clone().view(len(runs), -1, 10)
        for run, own in enumerate(outputs):
            images = engine.experiments[run].dataset.splits["val"].inputs.double()
            network = copy.deepcopy(network_of(engine, run)).eval()
            with torch.no_grad():
                expected = mean_over_views(network, images)
            torch.testing.assert_close(own.softmax(-1), expected)
            predictor = predictor_of(engine.experiments[run])
            torch.testing.assert_close(predictor.predict(images).probabilities, expected)


def test_training_is_the_same_with_views(tmp_path: Path) -> None:
    with_views, without = (train(tmp_path, *DIGITS, MLP, *QUIET, *views) for views in (VIEWS, ()))
    found, expected = (checkpoint.load(folder.last).state.model for folder in (with_views, without))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("members", [1, 2])
def test_a_checkpoint_predicts_the_mean(
    members: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(tmp_path, *DIGITS, MLP, *QUIET, *VIEWS, f"model.members={members}")
    predictor, stored = load_predictor(folder.last)
    assert len(members_of(predictor)) == 8 * members
    rows = load_dataset(stored.config.dataset).splits["test"]
    losses = predictor.losses(rows.inputs, rows.targets)
    summary = json.loads(folder.summary.read_text())
    assert float(losses.mean()) == pytest.approx(summary["test"]["loss"], rel=1e-5)
    export("python", tmp_path / "exported", folder.path)  # which compares its predictions
    assert (
        command(["export", str(folder.path), "--format", "sklearn", "--output", str(tmp_path / "other")]) == 2
    )
    assert "dataset.test_time_augment; use --format=torch" in capsys.readouterr().err


def test_a_model_whose_first_layer_is_not_linear(refused: Refused) -> None:
    said = "dataset.test_time_augment: the first layer must be linear, not InputScale; leave it out"
    assert said in refused("train", *DIGITS, MLP, *VIEWS, "model.input_scale=true", code=2)


def test_no_views_without_options() -> None:
    engine = engine_of(ManualGradients, *DIGITS, MLP)
    assert network_of(engine).views is None
    assert engine.experiments[0].networks == (network_of(engine),)


def test_runs_with_other_views_are_trained_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rotations = "dataset.test_time_augment.rotation=0,30"
    assert command(["train", "-m", *DIGITS, MLP, *QUIET, rotations, "run.progress=none"]) == 0
    sweep = next(Path("outputs/digits-mlp").glob("sweep-*"))
    losses = [json.loads(path.read_text())["test"]["loss"] for path in sorted(sweep.glob("0*/summary.json"))]
    assert len(losses) == 2 and losses[0] != pytest.approx(losses[1], rel=1e-4)
