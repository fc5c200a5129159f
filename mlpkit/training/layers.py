"""Weights and gradients by layer, for run.histograms: their norms and histograms at some epochs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mlpkit.config.config import Config
from mlpkit.engines.engine import Engine
from mlpkit.folders.metrics_file import Histogram

# What bounds the time and the size of the files, whatever the run is.
MOST_EPOCHS = 200  # with histograms in a run
MOST_TENSORS = 32  # the first ones of a network
MOST_VALUES = 1 << 16  # of a tensor: of a larger one every k-th value is counted
BINS = 30


@dataclass(frozen=True)
class LayerReport:
    """The weights of a run after an epoch, and the gradients of its last step as the optimizer took them.

    Attributes:
        norms: the gradient's norm by layer, as in `layers.0`.
        histograms: by `weights/` or `gradients/` and the tensor's name.
    """

    norms: Mapping[str, float]
    histograms: Mapping[str, Histogram]


def report_layers(engine: Engine, config: Config, epoch: int) -> list[LayerReport]:
    """Return a report for each run of the engine; none if it is not the turn of this epoch."""
    return [_report(engine, run) for run in range(engine.runs)] if is_due(config, epoch) else []


def is_due(config: Config, epoch: int) -> bool:
    """Whether an epoch, counted from 1, is one with histograms."""
    every = config.run.histograms
    if every is None:
        return False
    every *= math.ceil(config.trainer.epochs / every / MOST_EPOCHS)
    return epoch % every == 0 and epoch % config.trainer.log_every == 0


def _report(engine: Engine, run: int) -> LayerReport:
    flat = engine.parameters
    weights, gradients = flat.of_run(flat.values, run), flat.of_run(engine.gradients, run)
    squares: dict[str, float] = {}
    for name, gradient in gradients.items():
        layer = name.rpartition(".")[0]
        squares[layer] = squares.get(layer, 0.0) + float(gradient.detach().norm()) ** 2
    shown = list(weights)[:MOST_TENSORS]
    histograms = {f"weights/{name}": _histogram(weights[name]) for name in shown}
    histograms |= {f"gradients/{name}": _histogram(gradients[name]) for name in shown}
    return LayerReport({name: math.sqrt(square) for name, square in squares.items()}, histograms)


def _histogram(tensor: Tensor) -> Histogram:
    flat = tensor.detach().reshape(-1)
    values = flat[:: math.ceil(len(flat) / MOST_VALUES)].double().cpu().numpy()
    low, high = values.min(), values.max()
    if low == high:
        low, high = low - 0.5, high + 0.5
    places = ((values - low) * (BINS / (high - low))).astype(np.int64)
    counts = np.bincount(np.minimum(places, BINS - 1), minlength=BINS)
    return Histogram(counts.astype(np.float64), np.linspace(low, high, BINS + 1))
