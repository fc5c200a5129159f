"""The pictures of a run: which are drawn, that they say what is so, and that nothing odd breaks them."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from cases import rest_long
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image
from running import config
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    f1_score,
    precision_recall_curve,
    r2_score,
    roc_auc_score,
    roc_curve,
)
from torch import nn

from mlpkit.analysis.predict import Predictor
from mlpkit.config.loss import loss_for
from mlpkit.data.dataset import Dataset, Split
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.load import load_dataset
from mlpkit.data.random_split import random_split
from mlpkit.data.splits import gather_splits
from mlpkit.folders.run_folder import RunFolder
from mlpkit.losses.cross_entropy import CrossEntropy
from mlpkit.models.torch_network import Network, build_model
from mlpkit.plots import style
from mlpkit.plots.classification import confusion_counts, draw_boundary, draw_confusion
from mlpkit.plots.curves import best_of, draw_curves
from mlpkit.plots.images import SAMPLES, draw_samples, find_worst
from mlpkit.plots.pictures import draw_pictures
from mlpkit.plots.probabilities import Curves, draw_probabilities
from mlpkit.plots.regression import (
    coefficient_of_determination,
    draw_fit,
    draw_predicted,
    draw_residuals,
    equation,
    least_squares,
)

KINDS = {
    "line": ("dataset=line", "model=linear"),
    "sum": ("dataset=sum", "model=mlp"),
    "moons": ("dataset=moons", "model=logistic"),
    "digits": ("dataset=digits", "model=mlp"),
}
# Width and height in pixels; the confusion matrix and the samples grow with classes and images.
SIZES = {
    "line": {"curves": (1382, 604), "fit": (1094, 806), "predicted": (806, 878), "residuals": (1382, 662)},
    "sum": {"curves": (1382, 604), "predicted": (806, 878), "residuals": (1382, 662)},
    "moons": {
        "curves": (1382, 604),
        "boundary": (1036, 864),
        "confusion": (720, 590),
        "probabilities": (1382, 1296),
    },
    "digits": {
        "curves": (1382, 604),
        "confusion": (1048, 964),
        "calibration": (748, 835),
        "samples": (1411, 720),
    },
}


composed = cache(config)  # composing takes longer than a picture


def untrained(*overrides: str) -> tuple[Predictor, Dataset]:
    """Return a predictor with its initial weights, and its dataset."""
    settings = composed(*overrides)
    dataset = load_dataset(settings.dataset)
    loss = loss_for(settings.loss, dataset.input_schema.task, dataset.name)
    return Predictor(build_model(settings, dataset), dataset.input_schema, loss), dataset


def blobs(classes: tuple[str, ...], features: tuple[str, str] = ("x1", "x2")) -> tuple[Predictor, Dataset]:
    """Return points of several classes round a circle, and a network with random weights."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(len(classes)).repeat(20)
    angles = labels * 2 * torch.pi / len(classes)
    points = torch.stack((angles.cos(), angles.sin()), 1) + 0.1 * torch.randn(
        len(labels), 2, generator=random
    )
    input_schema = InputSchema("multiclass", features, (2,), ("kind",), classes)
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, len(classes)))
    network = Network(layers, None, None)
    splits, _ = gather_splits(points, labels, random_split(len(points), 0, 0.2, 0.2))
    loss = CrossEntropy(name="cross_entropy")
    return Predictor(network, input_schema, loss), Dataset("blobs", input_schema, splits)


def line(epoch: int, split: str, loss: float | None, score: float | None, lr: float = 0.1, name: str = "r2"):
    return {
        "epoch": epoch,
        "step": epoch,
        "split": split,
        "loss": loss,
        name: score,
        "lr": lr,
        "seconds": 0.1,
    }


def falling(dataset: Dataset, epochs: int = 5) -> list[dict]:
    """Return lines of training that goes well, and of one score on the test split at its end."""
    name = "accuracy" if dataset.input_schema.classes else "r2"
    made = [
        line(epoch, split, 1 / epoch, 1 - 1 / (epoch + 1), name=name)
        for epoch in range(1, epochs + 1)
        for split in ("train", dataset.monitored)
    ]
    return [*made, line(epochs, "test", 0.5, 0.5, name=name)]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text().strip()]


def legend(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.fixture(autouse=True)
def _look():
    with style.applied():
        yield


@pytest.mark.sampled(4)
@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_each_kind(kind: str, tmp_path: Path) -> None:
    predictor, dataset = untrained(*KINDS[kind])
    folder = RunFolder(tmp_path)
    paths = draw_pictures(folder.plots, predictor, dataset, falling(dataset), print)
    assert paths == [folder.plots / f"{name}.png" for name in SIZES[kind]]
    assert sorted(folder.plots.iterdir()) == sorted(paths)
    for path in paths:
        with Image.open(path) as image:
            assert image.size == SIZES[kind][path.stem], path.stem
            pixels = np.asarray(image.convert("L")).astype(int)
        below = pixels[int(style.HEADING * 144) :]
        assert pixels[0].min() == 255, "the page is white"
        assert (pixels[: len(pixels) - len(below)] < 200).mean() > 0.01, "the heading is there"
        assert (below < 230).mean() > 0.005 and below.std() > 10, "the picture is not blank"


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("missing", "scored"), [((), "test"), (("test",), "val"), (("test", "val"), "train")]
)
def test_the_test_split_is_scored_where_there_is_one(
    missing: tuple[str, ...], scored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor, dataset = untrained(*KINDS["moons"])
    splits = {name: rows for name, rows in dataset.splits.items() if name not in missing}
    figures: list[Figure] = []
    monkeypatch.setattr(style, "render", lambda figure: figures.append(figure) or b"")
    lines = falling(dataset)
    draw_pictures(RunFolder(tmp_path).plots, predictor, replace(dataset, splits=splits), lines, print)
    _, boundary, confusion, *probabilities = figures
    assert any(f"{scored}: " in text for of in probabilities for text in texts(of)) is bool(probabilities)
    assert any(f"{scored} accuracy" in text for text in texts(boundary))
    assert any(f"{scored} accuracy" in text for text in texts(confusion))
    assert legend(boundary.axes[0]) == ["upper", "lower", *dict.fromkeys(("train", scored))]


@pytest.mark.long
@pytest.mark.parametrize("kind", rest_long(KINDS, lambda kind: kind == "moons"))
def test_a_network_of_nan_can_be_drawn(kind: str, tmp_path: Path) -> None:
    predictor, dataset = untrained(*KINDS[kind])
    for weights in predictor.network.parameters():
        torch.nn.init.constant_(weights, float("nan"))
    name = "accuracy" if dataset.input_schema.classes else "r2"
    lines = [line(1, split, None, None, name=name) for split in ("train", "val")]
    assert [
        path.stem for path in draw_pictures(RunFolder(tmp_path).plots, predictor, dataset, lines, print)
    ] == [*SIZES[kind]]


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([], id="none"),
        pytest.param([line(1, "train", 2.0, 0.1), line(1, "val", 2.5, 0.0)], id="one epoch"),
        pytest.param([line(1, "train", 0.0, 1.0), line(1, "val", 0.0, 1.0)], id="exact at once"),
        pytest.param([line(e, "train", 10.0**e, None) for e in range(1, 40)], id="diverging"),
        pytest.param([line(e, "val", None if e > 2 else 1e4, -1e9) for e in range(1, 5)], id="gone"),
        pytest.param([line(e, "train", 10.0**-e if e < 9 else 0.0, 1.0) for e in range(1, 12)], id="to zero"),
        pytest.param([{"epoch": 1, "step": 1, "split": "train", "loss": None}], id="no scores"),
    ],
)
def test_odd_curves_can_be_drawn(lines: list[dict]) -> None:
    predictor, dataset = untrained(*KINDS["line"])
    figure = draw_curves(lines, dataset, predictor)
    assert style.render(figure).startswith(b"\x89PNG")
    empty = [axes for axes in figure.axes if "no finite values" in texts(axes)]
    known = {name for row in lines for name in ("loss", "r2") if row.get(name) is not None}
    assert len(empty) == len(figure.axes) - len(known)


def test_each_curve_is_that_of_its_split() -> None:
    predictor, dataset = untrained(*KINDS["line"])
    lines = [line(1, "train", 3.0, 0.1), line(1, "val", 4.0, 0.2), line(2, "train", 1.0, 0.3)]
    lines += [line(2, "val", None, 0.4), line(3, "train", 0.5, 0.5), line(3, "val", 0.7, 0.6)]
    lines += [line(3, "test", 0.9, 0.7)]
    loss, score = draw_curves(lines, dataset, predictor).axes
    drawn = {str(curve.get_label()).split()[0]: curve for curve in loss.lines}
    assert list(drawn["train"].get_ydata()) == [3.0, 1.0, 0.5]
    np.testing.assert_array_equal(drawn["val"].get_ydata(), [4.0, np.nan, 0.7])
    assert list(drawn["test"].get_xdata()) == [3]
    markers = {split: drawn[split].get_marker() for split in ("train", "val", "test")}
    assert markers == {"train": "", "val": "", "test": "o"}
    assert legend(loss) == ["train 0.5000", "val 0.7000", "test 0.9000"]
    assert legend(score) == ["train 0.5000", "val 0.6000", "test 0.7000"]
    assert [drawn[split].get_color() for split in drawn if split in markers] == [
        *style.SPLIT_COLOURS.values()
    ]


@pytest.mark.parametrize(("last", "scale"), [(1.0, "linear"), (0.005, "log"), (0.0, "linear")])
def test_log_axis_for_a_loss_over_decades(last: float, scale: str) -> None:
    predictor, dataset = untrained(*KINDS["line"])
    lines = [line(1, "train", 2.0, 0.0), line(2, "train", last, 0.1)]
    loss, score = draw_curves(lines, dataset, predictor).axes
    assert (loss.get_yscale(), score.get_yscale()) == (scale, "linear")


def test_a_loss_of_zero_has_a_place_on_a_log_axis() -> None:
    predictor, dataset = untrained(*KINDS["line"])
    losses = (2.0, 3e-4, 0.0, 5e-4, None)
    lines = [line(epoch, "train", loss, 0.5) for epoch, loss in enumerate(losses, 1)]
    loss, _ = draw_curves(lines, dataset, predictor).axes
    assert loss.get_yscale() == "log"
    foot = loss.get_ylim()[0]
    assert foot == pytest.approx(1e-5)  # a decade below the decade of the least
    drawn = loss.lines[0].get_ydata()
    np.testing.assert_allclose(drawn, [2.0, 3e-4, foot, 5e-4, np.nan])
    assert [text.get_text() for text in loss.texts if text.get_position()[1] == foot] == ["0"]
    assert min(loss.get_yticks()) > 10 * foot


def test_the_start_of_r2_does_not_flatten_the_rest() -> None:
    predictor, dataset = untrained(*KINDS["line"])
    lines = [line(1, "train", 2.0, -1e6), line(2, "train", 1.0, 0.9), line(2, "test", 1.0, -0.5)]
    _, score = draw_curves(lines, dataset, predictor).axes
    assert score.get_ylim() == pytest.approx((-0.6, 1.05))


def test_learning_rate_is_drawn_where_it_changes() -> None:
    predictor, dataset = untrained(*KINDS["line"])
    constant = [line(epoch, "train", 1.0, 0.0) for epoch in (1, 2)]
    changing = [line(epoch, "train", 1.0, 0.0, lr=0.1 / epoch) for epoch in (1, 2)]
    labels = [axes.get_ylabel() for axes in draw_curves(constant, dataset, predictor).axes]
    assert labels == ["mean squared error", "R²"]
    rates = draw_curves(changing, dataset, predictor).axes[2]
    assert (rates.get_ylabel(), list(rates.lines[0].get_ydata())) == ("learning rate", [0.1, 0.05])


def test_best_epoch_follows_the_task() -> None:
    predictor, dataset = untrained(*KINDS["line"])
    values = {1: 3.0, 2: 1.0, 3: None, 4: 1.0, 5: 2.0}
    lines = [line(epoch, "val", loss, 0.0) for epoch, loss in values.items()]
    lines += [line(6, "train", 0.1, 0.0)]
    assert best_of(lines, dataset, predictor) == (2, 1.0)
    loss = draw_curves(lines, dataset, predictor).axes[0]
    ring = next(curve for curve in loss.lines if curve.get_fillstyle() == "none")
    assert (list(ring.get_xdata()), list(ring.get_ydata())) == ([2], [1.0])
    predictor, dataset = untrained(*KINDS["moons"])
    lines = [
        line(epoch, "val", 1.0, score, name="accuracy") for epoch, score in ((1, 0.5), (2, 0.9), (3, 0.7))
    ]
    assert best_of(lines, dataset, predictor) == (2, 0.9)
    assert any(
        "best val accuracy 0.9000 at epoch 2 " in text
        for text in texts(draw_curves(lines, dataset, predictor))
    )
    every_third = [dict(row, epoch=row["epoch"] * 3) for row in lines]
    figure = draw_curves(every_third, dataset, predictor)
    assert any("best logged val accuracy 0.9000 at epoch 6 " in text for text in texts(figure))


@pytest.mark.parametrize(("slope", "intercept"), [(3.0, 2.0), (-0.01, 4e5), (2e4, -7.0)])
def test_least_squares_agrees_with_polyfit(slope: float, intercept: float) -> None:
    random = np.random.default_rng(0)
    x = random.uniform(-5, 20, 80)
    y = slope * x + intercept + random.normal(size=80)
    assert least_squares(x, y) == pytest.approx(tuple(np.polyfit(x, y, 1)), rel=1e-6)


def test_equations_of_the_fit() -> None:
    predictor, dataset = untrained(
        *KINDS["line"], "dataset.slope=-2.5", "dataset.intercept=1", "dataset.noise=3"
    )
    with torch.no_grad():
        predictor.network.layers[0].weight.fill_(1.5)
        predictor.network.layers[0].bias.fill_(-0.25)
    train = dataset.splits["train"]
    slope, intercept = np.polyfit(train.inputs[:, 0].double(), train.targets[:, 0].double(), 1)
    (axes,) = draw_fit(dataset, predictor).axes
    assert legend(axes) == [
        "train",
        "val",
        "test",
        "true: y = −2.50x + 1.00",
        "fitted: y = 1.50x − 0.250",
        f"least squares: {equation(slope, intercept)}",
    ]
    lines = {str(curve.get_label()).split(":")[0]: curve for curve in axes.lines}
    x = lines["fitted"].get_xdata()
    np.testing.assert_allclose(lines["fitted"].get_ydata(), 1.5 * x - 0.25, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(lines["least squares"].get_ydata(), slope * x + intercept, rtol=1e-6)
    np.testing.assert_array_equal(lines["test"].get_ydata(), dataset.splits["test"].targets[:, 0])


def test_what_is_no_line_has_no_equation() -> None:
    predictor, dataset = untrained("dataset=line", "model=mlp", "model.hidden=[8]")
    (axes,) = draw_fit(replace(dataset, true_line=None), predictor).axes
    assert legend(axes)[3] == "fitted: mlp [8]"
    assert not any("true" in label for label in legend(axes))


def test_r2_of_the_predicted_picture() -> None:
    predictor, dataset = untrained("dataset=sum", "model=linear")
    outputs = {name: predictor.outputs(rows.inputs) for name, rows in dataset.splits.items()}
    (axes,) = draw_predicted(dataset, predictor, outputs).axes
    for label, (name, rows) in zip(legend(axes), dataset.splits.items(), strict=True):
        exact = r2_score(rows.targets, outputs[name])
        assert coefficient_of_determination(predictor, outputs[name], rows.targets) == pytest.approx(
            exact, rel=1e-5
        )
        assert label == f"{name} R² {style.number(exact)}"
    for curve, (name, rows) in zip(axes.lines, dataset.splits.items(), strict=False):
        np.testing.assert_array_equal(curve.get_xdata(), rows.targets[:, 0])
        np.testing.assert_array_equal(curve.get_ydata(), outputs[name][:, 0])
    assert axes.get_xlim() == axes.get_ylim()
    assert list(axes.lines[-1].get_xdata()) == list(axes.lines[-1].get_ydata()), "the diagonal"


def test_boundary_is_where_the_classes_are_equal() -> None:
    predictor, dataset = untrained(*KINDS["moons"])
    layer = predictor.network.layers[0]
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[4.0, 0.0]]))
        layer.bias.fill_(-2.0)
    figure = draw_boundary(dataset, predictor, "test", predictor.outputs(dataset.splits["test"].inputs))
    axes = figure.axes[0]
    (border,) = [c for c in axes.collections if len(c.get_paths())]
    assert np.asarray(border.get_paths()[0].vertices)[:, 0] == pytest.approx(0.5, abs=1e-2)
    image = np.asarray(axes.images[0].get_array())
    low, high, *_ = axes.images[0].get_extent()
    x = low + (np.arange(image.shape[1]) + 0.5) * (high - low) / image.shape[1]
    np.testing.assert_allclose(image[0], 1 / (1 + np.exp(2 - 4 * x)), atol=1e-5)
    assert legend(axes) == ["upper", "lower", "train", "test"]


def test_boundary_of_many_classes_shows_every_point() -> None:
    predictor, dataset = blobs(("a", "b", "c", "d"))
    figure = draw_boundary(dataset, predictor, "test", predictor.outputs(dataset.splits["test"].inputs))
    axes = figure.axes[0]
    shown = sum(len(curve.get_xdata()) for curve in axes.lines)
    assert shown == len(dataset.splits["train"]) + len(dataset.splits["test"])
    left, right, bottom, top = (*axes.get_xlim(), *axes.get_ylim())
    for curve in axes.lines:
        assert all(left < x < right and bottom < y < top for x, y in np.asarray(curve.get_xydata()))
    assert legend(axes) == ["a", "b", "c", "d", "train", "test"]


def test_many_points_are_thinned_and_it_is_said() -> None:
    predictor, dataset = untrained(*KINDS["line"], "dataset.n=30000")
    figure = draw_fit(dataset, predictor)
    drawn = {curve.get_label(): len(curve.get_xdata()) for curve in figure.axes[0].lines}
    assert 1000 < drawn["train"] <= style.POINTS and 1000 < drawn["test"] <= style.POINTS
    assert any("at most 2,000 points" in text for text in texts(figure))
    assert style.thinning(style.POINTS) == ()


def test_confusion_counts() -> None:
    random = np.random.default_rng(0)
    true, predicted = random.integers(0, 5, (2, 300))
    predicted[true == 2] = 4
    exact = confusion_matrix(true, predicted, labels=range(7))
    counts = confusion_counts(torch.from_numpy(true), torch.from_numpy(predicted), 7)
    np.testing.assert_array_equal(counts, exact)


def test_confusion_matrix_shows_counts_shares_and_accuracy() -> None:
    predictor, dataset = untrained(*KINDS["moons"])
    targets = torch.tensor([0, 0, 0, 0, 1, 1])
    dataset = replace(dataset, splits={**dataset.splits, "test": Split(torch.zeros(6, 2), targets)})
    outputs = torch.tensor([[-1.0], [-1.0], [-1.0], [1.0], [1.0], [1.0]])
    figure = draw_confusion(dataset, predictor, "test", outputs)
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), [[0.75, 0.25], [0.0, 1.0]])
    cells = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert cells == {(0, 0): "3", (1, 0): "1", (1, 1): "2"}
    assert any("test accuracy 0.8333 of 6 rows" in text for text in texts(figure))


def test_worst_mistakes_come_first() -> None:
    predictor, _ = blobs(("a", "b", "c"))
    outputs = torch.tensor([[5.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    worst = find_worst(predictor, outputs, torch.tensor([0, 0, 0, 2]))
    assert (worst.rows.tolist(), worst.predicted.tolist(), worst.mistakes) == ([1, 2], [1, 1], 2)
    assert worst.certainty.tolist() == pytest.approx(torch.softmax(outputs, 1).max(1).values[[1, 2]].tolist())
    worst = find_worst(predictor, outputs, torch.tensor([0, 1, 1, 2]))
    assert (worst.rows.tolist(), worst.predicted.tolist(), worst.mistakes) == ([3, 2, 0, 1], [2, 1, 0, 1], 0)


@pytest.mark.parametrize(("mistakes", "shown"), [(0, SAMPLES), (3, 3), (100, SAMPLES)])
def test_samples_show_mistakes_or_say_that_there_are_none(mistakes: int, shown: int) -> None:
    predictor, dataset = untrained(*KINDS["digits"])
    targets = dataset.splits["test"].targets
    outputs = 8.0 * torch.nn.functional.one_hot(targets, 10).float()
    outputs[:mistakes] = outputs[:mistakes].roll(1, dims=1)
    figure = draw_samples(dataset, predictor, "test", outputs)
    (axes,) = figure.axes
    assert len(axes.images) == len(axes.texts) == shown
    arrows = sum(" → " in text.get_text() for text in axes.texts)
    assert arrows == (shown if mistakes else 0)
    heading = " ".join(text.get_text() for text in figure.texts)
    wanted = f"{shown} of {mistakes} mistakes on 359" if mistakes else "No mistakes: the least certain images"
    assert wanted in heading


@pytest.fixture
def check_texts(monkeypatch: pytest.MonkeyPatch) -> Callable[[Figure], None]:
    """Return a check that every text that is drawn lies inside the picture, and over nothing else."""
    boxes: list[tuple[str, Bbox]] = []
    draw = Text.draw

    def noted(text: Text, renderer: RendererBase) -> None:
        if text.get_text().strip() and text.get_visible():
            boxes.append((text.get_text(), text.get_window_extent(renderer)))
        draw(text, renderer)

    def check(figure: Figure) -> None:
        boxes.clear()
        style.render(figure)
        assert len(boxes) > 4
        width, height = figure.bbox.size
        for words, box in boxes:
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, f"{words!r} is cut"
        for (words, box), (others, place) in combinations(boxes, 2):
            across = min(box.x1, place.x1) - max(box.x0, place.x0)
            up = min(box.y1, place.y1) - max(box.y0, place.y0)
            assert across < 1 or up < 1, f"{words!r} lies over {others!r}"

        for axes in figure.axes:
            place = axes.get_window_extent()
            assert axes.get_legend() is None or axes.get_legend().get_window_extent().y0 >= place.y1
            assert axes.xaxis.get_offset_text().get_text() + axes.yaxis.get_offset_text().get_text() == ""
        assert figure.axes[0].get_window_extent().width > 0.35 * width, "a legend or a label takes the room"

    monkeypatch.setattr(Text, "draw", noted)
    return check


LONG = ("$\\wrong$", "_other_", "Größe", "a class with a very long name", "e$", "M" * 40)


@pytest.mark.long
def test_texts_of_curves_do_not_collide(check_texts: Callable[[Figure], None]) -> None:
    predictor, dataset = untrained(*KINDS["line"])
    dataset = replace(dataset, name="a dataset with a name that is much too long for any picture of it")
    for loss in (1.0, 1e-9, 1e12):
        lines = [
            line(e, s, loss / e**2, 1 - e, lr=1e-6 * e) for e in (1, 5000) for s in ("train", "val", "test")
        ]
        check_texts(draw_curves(lines, dataset, predictor))


@pytest.mark.long
@pytest.mark.parametrize("scale", rest_long([1e-7, 1.0, 1e5, 1e9], lambda scale: scale == 1e9))
def test_texts_of_a_regression_do_not_collide(scale: float, check_texts: Callable[[Figure], None]) -> None:
    predictor, dataset = untrained(*KINDS["line"])
    splits = {
        name: Split(rows.inputs * scale, -rows.targets * scale) for name, rows in dataset.splits.items()
    }
    names = {"features": ("temperature of the sea",), "targets": ("height above the sea",)}
    dataset = replace(dataset, splits=splits, input_schema=replace(dataset.input_schema, **names))
    check_texts(draw_fit(dataset, predictor))
    outputs = {name: rows.targets.clone() for name, rows in splits.items()}
    check_texts(draw_predicted(dataset, predictor, outputs))
    outputs = {name: 54_321 + 1e-3 * targets / scale for name, targets in outputs.items()}
    close = {name: Split(splits[name].inputs, targets) for name, targets in outputs.items()}
    check_texts(draw_predicted(replace(dataset, splits=close), predictor, outputs))
    check_texts(draw_residuals(replace(dataset, splits=close), predictor, "test", outputs["test"] + 1e-3))
    check_texts(draw_residuals(dataset, predictor, "test", splits["test"].targets * 0.9))


@pytest.mark.long
def test_texts_of_probabilities_do_not_collide(check_texts: Callable[[Figure], None]) -> None:
    predictor, dataset = untrained(*KINDS["moons"])
    dataset = replace(dataset, input_schema=replace(dataset.input_schema, classes=(LONG[0], LONG[1])))
    rows = dataset.splits["test"]
    for outputs in (predictor.outputs(rows.inputs), 30.0 * (2.0 * rows.targets[:, None] - 1)):
        check_texts(draw_probabilities(dataset, predictor, "test", outputs))


def test_curves_of_probabilities_are_scikit_learns() -> None:
    random = np.random.default_rng(0)
    true = random.random(200) < 0.3
    chances = (0.3 * true + 0.7 * random.random(200)).round(2)  # with ties
    found = Curves(chances, true)
    rates, recall, thresholds = roc_curve(true, chances, drop_intermediate=False)
    assert found.thresholds.tolist() == thresholds[1:].tolist()
    np.testing.assert_allclose(found.false_positive_rate, rates[1:])
    np.testing.assert_allclose(found.recall, recall[1:])
    precision, _, _ = precision_recall_curve(true, chances)
    np.testing.assert_allclose(found.precision, precision[-2::-1])
    assert found.roc_auc() == pytest.approx(roc_auc_score(true, chances))
    assert found.average_precision() == pytest.approx(average_precision_score(true, chances))
    f1 = [f1_score(true, chances >= threshold) for threshold in found.thresholds]
    np.testing.assert_allclose(found.f1, f1)


@pytest.mark.long
@pytest.mark.parametrize(
    "classes",
    [
        LONG,
        *(pytest.param(names, marks=pytest.mark.long) for names in (LONG[:3], LONG[3:])),
        tuple(f"class {k}" for k in range(40)),
    ],
    ids=len,
)
def test_texts_of_a_classification_do_not_collide(
    classes: tuple[str, ...], check_texts: Callable[[Figure], None]
) -> None:
    predictor, dataset = blobs(classes, features=("a" * 50, "$x_1$"))
    outputs = predictor.outputs(dataset.splits["test"].inputs)
    boundary = draw_boundary(dataset, predictor, "test", outputs)
    check_texts(boundary)
    confusion = draw_confusion(dataset, predictor, "test", outputs)
    check_texts(confusion)
    turned = confusion.axes[0].get_xticklabels()[0].get_rotation() == 90
    assert turned == (classes != LONG[:3])  # which are narrower than their cells
    assert legend(boundary.axes[0]) == [
        *([style.shorten(name) for name in classes] if len(classes) <= 16 else []),
        "train",
        "test",
    ]


def test_texts_of_samples_do_not_collide(check_texts: Callable[[Figure], None]) -> None:
    predictor, dataset = untrained(*KINDS["digits"])
    input_schema = replace(dataset.input_schema, classes=tuple("M" * 20 for _ in range(10)))
    outputs = predictor.outputs(dataset.splits["test"].inputs)
    for chosen in (dataset, replace(dataset, input_schema=input_schema)):
        check_texts(draw_samples(chosen, predictor, "test", outputs))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.95, "0.9500"),
        (0.99996, "1.000"),
        (-12.3456, "−12.35"),
        (1234.4, "1234"),
        (9999.9, "10,000"),
        (20480.4, "20,480"),
        (3.2e-7, "3.200e−7"),
        (1.5e12, "1.500e12"),
        (float("nan"), "not finite"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert style.number(value) == text


@pytest.mark.long
def test_settings_of_matplotlib_come_back(tmp_path: Path) -> None:
    with matplotlib.rc_context({"font.size": 31.0}):
        before = dict(matplotlib.rcParams)
        predictor, dataset = untrained(*KINDS["line"])
        draw_pictures(RunFolder(tmp_path).plots, predictor, dataset, falling(dataset), print)
        assert dict(matplotlib.rcParams) == before


@pytest.mark.long
def test_matplotlib_loads_with_the_pictures_and_never_pyplot() -> None:
    code = (
        "import sys, mlpkit.engines.experiment, mlpkit.analysis.predict; "
        "assert 'matplotlib' not in sys.modules; "
        "import mlpkit.plots.pictures; "
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
