"""Compares what an exported file says of rows with what mlpkit says, and decides what counts as rounding."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlpkit.analysis.predict import members_of
from mlpkit.deploy.check_rows import CheckRows
from mlpkit.deploy.format import FilePredictions, Source
from mlpkit.errors import DataError

EPSILON = 2.0**-23  # of float32
SLACK = 16  # times mlpkit's own rounding: another order of sums, another exp
OWN_MODULE = 1e-6  # rounding of a module that cannot compute in float64
LARGEST = 1e-3  # more than this is never taken for rounding


@dataclass(frozen=True)
class Difference:
    """How far an export and mlpkit are apart.

    Attributes:
        largest: difference of two probabilities, or of two values relative to the value and the median value.
        allowed: the most that counts as rounding.
    """

    largest: float
    allowed: float


def with_answers(source: Source, rows: CheckRows) -> CheckRows:
    """Return the rows for which mlpkit has a finite prediction; it refuses the others.

    Raises:
        DataError: there is no such row.
    """
    found = source.predictor.predict(torch.from_numpy(rows.features))
    values = found.numbers
    kept = rows.only(values.isfinite().all(1).numpy())
    if len(kept) == 0:
        raise DataError("export: no row of the check has a finite prediction; train the model again")
    return kept


def compare(source: Source, rows: CheckRows, answers: FilePredictions) -> Difference:
    """Return how far an export's answers are from mlpkit's.

    What counts as rounding is measured on the same rows: float32 and float64 give outputs that differ by as
    much as float32 rounds. An export may sum in another order, so it gets SLACK times as much.

    Raises:
        DataError: the difference is beyond rounding, or a label differs.
    """
    inputs = torch.from_numpy(rows.features)
    expected = source.predictor.predict(inputs)
    is_regression = expected.probabilities is None
    wanted = expected.numbers
    outputs = wanted.double().numpy()
    if answers.outputs.shape != outputs.shape:
        raise DataError(f"the export returns the shape {answers.outputs.shape}, mlpkit {outputs.shape}")
    scale = np.abs(outputs) + np.median(np.abs(outputs)) if is_regression else np.ones_like(outputs)
    scale = np.maximum(scale, np.finfo(np.float32).tiny)
    noise = float((_rounding(source, inputs) / scale).max(initial=0.0))
    allowed = min(SLACK * (noise + 4 * EPSILON), LARGEST)
    found = np.abs(answers.outputs.astype(np.float64) - outputs) / scale
    largest = float(found.max(initial=0.0))
    if not largest <= allowed:
        row = int(np.argmax(~(found <= allowed).all(1)))
        raise DataError(
            f"row {row + 1} of the check: the export gives {answers.outputs[row].tolist()}, mlpkit "
            f"{outputs[row].tolist()}: more than rounding ({largest:.2g}, allowed {allowed:.2g})"
        )
    if answers.labels is not None:
        _check_labels(source, answers.labels, expected.values.numpy(), outputs, allowed)
    return Difference(largest, allowed)


def _check_labels(
    source: Source,
    labels: NDArray[np.int64],
    expected: NDArray[np.int64],
    outputs: NDArray[np.float64],
    allowed: float,
) -> None:
    """Refuse labels that differ, but where the probability is the threshold, or two are the same."""
    if source.schema.task == "multiclass":
        highest = np.sort(outputs, axis=1)
        clear = highest[:, -1] - highest[:, -2] > 2 * allowed
    else:
        clear = (
            np.abs((outputs if source.schema.task == "multilabel" else outputs[:, 1]) - source.threshold)
            > allowed
        )
    if (wrong := (labels != expected) & clear).any():
        row = int(np.argmax(wrong.reshape(len(wrong), -1).any(1)))
        raise DataError(
            f"row {row + 1} of the check: the export gives the label {labels[row]}, mlpkit {expected[row]}"
        )


def _rounding(source: Source, inputs: Tensor) -> NDArray[np.float64]:
    """Return by how much the outputs in float32 and in float64 differ."""
    try:
        single, double = (_outputs(source, inputs, dtype) for dtype in (torch.float32, torch.float64))
    except RuntimeError:  # a module of the user's own that computes in one dtype only
        return np.full(1, OWN_MODULE)
    return np.abs(single - double)


def _outputs(source: Source, inputs: Tensor, dtype: torch.dtype) -> NDArray[np.float64]:
    with _computing_in(source, dtype):
        found = source.predictor.predict(inputs)
    values: NDArray[np.float64] = found.numbers.double().numpy()
    return values


@contextmanager
def _computing_in(source: Source, dtype: torch.dtype) -> Iterator[None]:
    """Convert the networks to a dtype for a block."""
    networks = [member.network for member in members_of(source.predictor)]
    before = [{name: tensor.clone() for name, tensor in network.state_dict().items()} for network in networks]
    own = [network.dtype for network in networks]
    try:
        for network in networks:
            network.to(dtype)
        yield
    finally:
        for network, was, state in zip(networks, own, before, strict=True):
            network.to(was).load_state_dict(state)
