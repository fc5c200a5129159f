"""The curves of a setting over its seeds: at each epoch the mean, the lowest and the highest score."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlpkit.analysis.compare import Setting
from mlpkit.folders.metrics_file import read_curves, record_of

Points = dict[int, float]  # by step


@dataclass(frozen=True)
class Band:
    """A score of several runs.

    Attributes:
        score: its name.
        split: train, val or test.
        steps: (n,) the optimizer steps that all runs have a score at; elsewhere the mean would jump.
        mean: (n,)
        low: (n,) the lowest.
        high: (n,) the highest.
    """

    score: str
    split: str
    steps: NDArray[np.int64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def bands_of(setting: Setting, warn: Callable[[str], None]) -> list[Band]:
    """Return the bands of all scores of a setting; `warn` is called for each run that cannot be read."""
    curves: dict[tuple[str, str], list[Points]] = {}
    for lines in read_curves([run.path for run in setting.runs.values()], warn):
        own: dict[tuple[str, str], Points] = {}
        for record in (record_of([line]) for line in lines):
            for split, scores in record.scores.items():
                for score, value in scores.items():
                    if value is not None:
                        own.setdefault((score, split), {})[record.step] = value
        for key, points in own.items():
            curves.setdefault(key, []).append(points)
    return [band for key, runs in curves.items() if (band := _band(*key, runs)).steps.size]


def _band(score: str, split: str, runs: list[Points]) -> Band:
    steps = sorted(set.intersection(*(set(points) for points in runs)))
    values = np.array([[points[step] for step in steps] for points in runs], dtype=np.float64)
    ends = values.mean(axis=0), values.min(axis=0), values.max(axis=0)
    return Band(score, split, np.array(steps, dtype=np.int64), *ends)
