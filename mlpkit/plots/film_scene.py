"""A scene of a film: what one run shows in each frame. Computed from its frames, without matplotlib."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mlpkit.analysis.predict import Predictor
from mlpkit.data.dataset import SPLITS
from mlpkit.errors import DataError
from mlpkit.folders.film_file import Film
from mlpkit.plots.film_view import Array, View

MOST_UNITS = 32  # of the first hidden layer whose lines are drawn
MOST_OF_A_CURVE = 400  # points of a loss curve
_CLASS_LEVELS = 16  # how sure the model is, as stored for several classes

Curves = dict[str, tuple[list[int], list[float | None]]]  # split -> epochs and losses


@dataclass(frozen=True)
class Scene:
    """A run over its frames.

    Attributes:
        label: what tells the run apart from the others; empty for a single one.
        view: the plane.
        epochs: of the frames.
        surface: uint8 (frames, size, size) from bottom left: the probability of the second class as 0 to 255;
            for several classes 16 · class + how sure it is (0 to 15); for values 0 to 255 over the view's
            range. Of a fit, float (frames, size): the predicted values.
        units: (frames, units, 3): each unit of the first layer is u · x + v · y + w before its activation,
            for x and y from 0 to 1 over the extent.
        all_units: how many units the first hidden layer has; 0 without one.
        curves: the loss by split.
        best: the best epoch; None if it is not known.
    """

    label: str
    view: View
    epochs: list[int]
    surface: NDArray[Any]
    units: NDArray[np.float32]
    all_units: int
    curves: Curves
    best: int | None


def make_scene(
    label: str,
    view: View,
    predictor: Predictor,
    film: Film,
    size: int,
    lines: Sequence[Mapping[str, Any]],
    best: int | None,
) -> Scene:
    """Return the scene of a run.

    Args:
        label: of the run.
        view: of its dataset.
        predictor: a model of the run, whose weights are replaced by those of each frame.
        film: the run's frames.
        size: points along each axis of a surface.
        lines: lines of metrics.jsonl.
        best: the best epoch.

    Raises:
        DataError: the film's tensors are not those of the network.
    """
    network, (left, right, bottom, top) = predictor.network, view.extent
    expected = {
        name: list(tensor.shape) for name, tensor in network.state_dict().items() if name in film.tensors
    }
    if expected != {name: list(tensor.shape[1:]) for name, tensor in film.tensors.items()}:
        raise DataError("its tensors are not those of the run's network; train the run again")
    x, y = np.linspace(left, right, size), np.linspace(bottom, top, size)
    points = x[:, None] if view.kind == "fit" else np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    inputs = view.scaled(points)
    corners = view.scaled(np.array([(left, bottom), (right, bottom), (left, top)]))
    first = _first_hidden(network.layers)
    surfaces, units = [], []
    for frame in range(len(film.epochs)):
        weights = {name: torch.from_numpy(tensor[frame].copy()) for name, tensor in film.tensors.items()}
        network.load_state_dict(weights, strict=False)
        with torch.no_grad():
            parts = [network.predictions(network.layers(part)) for part in torch.split(inputs, 4096)]
            surfaces.append(_quantized(view, predictor, torch.cat(parts), size))
            if first is not None:
                start, along, up = first(corners)[:, :MOST_UNITS].double()
                units.append(torch.stack((along - start, up - start, start), dim=1).float().numpy())
    stacked = np.stack(units) if units else np.zeros((len(surfaces), 0, 3), np.float32)
    count = 0 if first is None else first.out_features
    return Scene(label, view, film.epochs, np.stack(surfaces), stacked, count, loss_curves(lines), best)


def _first_hidden(layers: nn.Sequential) -> nn.Linear | None:
    """Return the first layer if it is linear and another one follows: then its units are straight lines."""
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    return linear[0] if len(linear) > 1 and layers[0] is linear[0] else None


def _quantized(view: View, predictor: Predictor, outputs: Tensor, size: int) -> NDArray[Any]:
    """Return what `Scene.surface` holds of a frame, from the outputs (points, width)."""
    if view.kind == "fit":
        return outputs[:, 0].double().nan_to_num(posinf=1e30, neginf=-1e30).clamp(-1e30, 1e30).numpy()
    if view.kind == "values":
        low, high = view.range
        shares = (outputs[:, 0].double().numpy() - low) / (high - low or 1.0)
        return _bytes(shares * 255, size)
    to_probabilities = predictor.task.probabilities
    assert to_probabilities is not None
    probabilities = to_probabilities(outputs)
    if view.kind == "probability":
        return _bytes(probabilities[:, 1].double().numpy() * 255, size)
    sure, label = probabilities.double().max(1)
    level = (sure.numpy() * _CLASS_LEVELS).astype(int).clip(0, _CLASS_LEVELS - 1)
    return _bytes((label.numpy() % 16) * _CLASS_LEVELS + level, size)


def _bytes(values: Array, size: int) -> NDArray[np.uint8]:
    return np.nan_to_num(values).round().clip(0, 255).astype(np.uint8).reshape(size, size)


def loss_curves(lines: Sequence[Mapping[str, Any]]) -> Curves:
    """Return the loss by split, with at most MOST_OF_A_CURVE epochs; None for a value that is not finite."""
    curves: Curves = {}
    for split in SPLITS[:2] if any(line["split"] == "val" for line in lines) else SPLITS[::2]:
        of_split = [line for line in lines if line["split"] == split]
        step = max(1, -(-len(of_split) // MOST_OF_A_CURVE))
        few = of_split[::step] + ([] if (len(of_split) - 1) % step == 0 else of_split[-1:])
        values = [line.get("loss") for line in few]
        if any(value is not None and math.isfinite(value) for value in values):
            curves[split] = [line["epoch"] for line in few], values
    return curves


def thinned(film: Film, most: int) -> Film:
    """Return a film of at most `most` frames: every 2nd, 4th, 8th … one, and always the last."""
    step, last = 1, len(film.epochs) - 1
    kept = list(range(last + 1))
    while len(kept) > max(most, 2):
        step *= 2
        kept = sorted({*range(0, last, step), last})
    return Film([film.epochs[i] for i in kept], {name: tensor[kept] for name, tensor in film.tensors.items()})
