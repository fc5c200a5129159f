"""Weights and gradients by layer, for run.histograms: their norms and histograms at some epochs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mlpkit.config.config import Config
from mlpkit.engines.engine import Engine
from mlpkit.folders.metrics_file import Histogram

# What bounds the time and the size of the files, whatever the run is.
MOST_EPOCHS = 30  # with histograms in a run
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
    weights, gradients = _arrays(flat.of_run(flat.values, run)), _arrays(flat.of_run(engine.gradients, run))
    squares: dict[str, float] = {}
    for name, gradient in gradients.items():
        layer, exact = name.rpartition(".")[0], gradient.astype(np.float64)
        squares[layer] = squares.get(layer, 0.0) + float(exact @ exact)
    norms = {name: math.sqrt(square) for name, square in squares.items()}
    shown = list(weights)[:MOST_TENSORS]
    names = [*(f"weights/{name}" for name in shown), *(f"gradients/{name}" for name in shown)]
    found = _histograms([*(weights[name] for name in shown), *(gradients[name] for name in shown)])
    return LayerReport(norms, dict(zip(names, found, strict=True)))


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    return {name: tensor.detach().reshape(-1).cpu().numpy() for name, tensor in tensors.items()}


def _histograms(arrays: Sequence[NDArray[Any]]) -> list[Histogram]:
    """Return a histogram of each array; all are counted together, which takes a tenth of the time."""
    parts = [array[:: math.ceil(len(array) / MOST_VALUES)] for array in arrays]
    values, sizes = np.concatenate(parts).astype(np.float64), [len(part) for part in parts]
    starts, which = np.cumsum([0, *sizes[:-1]]), np.repeat(np.arange(len(parts)), sizes)
    low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    equal = low == high
    low, high = low - 0.5 * equal, high + 0.5 * equal
    places = ((values - low[which]) * (BINS / (high - low))[which]).astype(np.int64)
    counts = np.bincount(which * BINS + np.minimum(places, BINS - 1), minlength=len(parts) * BINS)
    edges = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, BINS + 1)
    return [Histogram(*pair) for pair in zip(counts.reshape(-1, BINS).astype(np.float64), edges, strict=True)]
