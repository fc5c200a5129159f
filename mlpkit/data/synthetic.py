"""Datasets that are drawn: sum of numbers, noisy line, two moons."""

import numpy as np
import torch
from torch import Tensor

from mlpkit.config.dataset import DatasetConfig, LineDataset, MoonsDataset, SumDataset
from mlpkit.data.dataset import Dataset, column_scaling, deal, divide
from mlpkit.data.randomness import generator
from mlpkit.data.signature import Signature
from mlpkit.errors import ConfigError


def load(config: DatasetConfig) -> Dataset:
    """Return the synthetic dataset that the config names."""
    true_line = None
    if isinstance(config, SumDataset):
        inputs, targets = draw_sum(config)
        names = tuple(f"x{i + 1}" for i in range(config.terms))
        signature = Signature("regression", names, (config.terms,), ("y",))
    elif isinstance(config, LineDataset):
        inputs, targets = draw_line(config)
        signature = Signature("regression", ("x",), (1,), ("y",))
        true_line = (config.slope, config.intercept)
    else:
        assert isinstance(config, MoonsDataset)
        inputs, targets = draw_moons(config)
        signature = Signature("binary", ("x1", "x2"), (2,), ("moon",), ("upper", "lower"))
    if not (inputs.isfinite().all() and targets.isfinite().all()):
        raise ConfigError(
            f"dataset={config.name}: its options make values beyond float32; choose smaller ones"
        )
    dealt = deal(len(inputs), config.seed, config.val_fraction, config.test_fraction)
    splits, _ = divide(inputs, targets, dealt)
    train = splits["train"]
    regression = signature.task == "regression"
    return Dataset(
        name=config.name,
        signature=signature,
        splits=splits,
        input_scaling=column_scaling(train.inputs) if config.standardize else None,
        target_scaling=column_scaling(train.targets) if config.standardize and regression else None,
        true_line=true_line,
    )


def draw_sum(config: SumDataset) -> tuple[Tensor, Tensor]:
    """Return terms (n, terms), uniform in [low, high), and their noisy sum (n, 1)."""
    random = generator(config.seed, "samples")
    terms = torch.rand(config.n, config.terms, generator=random) * (config.high - config.low) + config.low
    noise = config.noise * torch.randn(config.n, 1, generator=random)
    return terms, terms.sum(1, keepdim=True) + noise


def draw_line(config: LineDataset) -> tuple[Tensor, Tensor]:
    """Return x (n, 1) and y = slope x + intercept + noise ε (n, 1) with ε standard normal."""
    random = generator(config.seed, "samples")
    if config.x == "linspace":
        x = torch.linspace(config.low, config.high, config.n).unsqueeze(1)
    elif config.x == "uniform":
        x = torch.rand(config.n, 1, generator=random) * (config.high - config.low) + config.low
    else:
        x = torch.randn(config.n, 1, generator=random) * config.std + config.mean
    noise = config.noise * torch.randn(config.n, 1, generator=random)
    return x, config.slope * x + config.intercept + noise


def draw_moons(config: MoonsDataset) -> tuple[Tensor, Tensor]:
    """Return points (n, 2) and labels (n,): two half circles that reach into each other, and noise.

    They are, to the bit, scikit-learn's make_moons of the same seed, which takes a second to import.
    """
    random = np.random.RandomState(config.seed)
    upper, lower = (np.linspace(0, np.pi, rows) for rows in (config.n // 2, config.n - config.n // 2))
    x = np.concatenate((np.cos(upper), 1 - np.cos(lower)))
    y = np.concatenate((np.sin(upper), 1 - np.sin(lower) - 0.5))
    labels = np.repeat((0, 1), (len(upper), len(lower)))
    order = random.permutation(config.n)
    points = np.stack((x, y), axis=1)[order]
    if config.noise:
        points += random.normal(scale=config.noise, size=points.shape)
    return torch.from_numpy(points).float(), torch.from_numpy(labels[order]).long()
