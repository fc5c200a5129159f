"""Sums are sums, lines are lines, moons are scikit-learn's, and the splits share no row."""

import json

import pytest
import running
import torch
from pydantic import TypeAdapter
from scipy import stats
from sklearn.datasets import make_moons

from mlpkit.config.problems import plural
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.load import load_dataset
from mlpkit.datasets.line import LineDataset
from mlpkit.datasets.moons import MoonsDataset
from mlpkit.datasets.sum import SumDataset
from mlpkit.errors import ConfigError

KINDS = {"sum": SumDataset, "line": LineDataset, "moons": MoonsDataset}


@pytest.mark.parametrize(("terms", "low", "high"), [(1, 0.0, 1.0), (2, -3.0, 5.0), (7, 10.0, 11.0)])
def test_sum_is_the_sum_of_its_terms(terms, low, high):
    inputs, targets = SumDataset(name="sum", n=5000, terms=terms, low=low, high=high).draw()
    assert (inputs.shape, targets.shape) == ((5000, terms), (5000, 1))
    exact = inputs.double().sum(1, keepdim=True)
    torch.testing.assert_close(targets.double(), exact, rtol=1e-6, atol=1e-6)
    assert low <= inputs.min() and inputs.max() < high
    spread = stats.uniform(low, high - low)
    assert stats.kstest(inputs.flatten().double().numpy(), spread.cdf).pvalue > 0.001


def test_noise_of_a_sum():
    plain, noisy = (SumDataset(name="sum", n=5000, noise=noise).draw() for noise in (0.0, 0.5))
    assert torch.equal(plain[0], noisy[0])
    noise = (noisy[1] - plain[1]).flatten().double().numpy()
    assert stats.kstest(noise, stats.norm(0, 0.5).cdf).pvalue > 0.001


@pytest.mark.parametrize("x", ["linspace", "uniform", "normal"])
def test_line_without_noise_is_the_formula(x):
    config = LineDataset(name="line", n=1000, slope=-3.0, intercept=2.0, noise=0.0, x=x, low=-1.0, high=4.0)
    inputs, targets = config.draw()
    assert (inputs.shape, targets.shape) == ((1000, 1), (1000, 1))
    torch.testing.assert_close(targets, -3 * inputs + 2, rtol=0, atol=0)


def test_where_a_line_has_its_x():
    def draw(**options):
        return LineDataset(name="line", n=5000, **options).draw()[0].flatten().double().numpy()

    even = draw(x="linspace", low=-1.0, high=3.0)
    assert (even[0], even[-1]) == (-1, 3)
    assert stats.kstest(even, stats.uniform(-1, 4).cdf).statistic < 0.001
    assert stats.kstest(draw(x="uniform", low=-1.0, high=3.0), stats.uniform(-1, 4).cdf).pvalue > 0.001
    assert stats.kstest(draw(x="normal", mean=5.0, std=0.5), stats.norm(5, 0.5).cdf).pvalue > 0.001


def test_noise_of_a_line():
    inputs, targets = LineDataset(name="line", n=5000, slope=3.0, intercept=2.0, noise=2.0).draw()
    noise = (targets - 3 * inputs - 2).flatten().double().numpy()
    assert stats.kstest(noise, stats.norm(0, 2).cdf).pvalue > 0.001


@pytest.mark.parametrize(("n", "noise", "seed"), [(500, 0.1, 0), (101, 0.0, 3), (2, 1.0, 2**32 - 1)])
def test_moons_equal_sklearn(n, noise, seed):
    inputs, targets = MoonsDataset(name="moons", n=n, noise=noise, seed=seed).draw()
    points, labels = make_moons(n, noise=noise or None, random_state=seed)
    assert torch.equal(inputs, torch.from_numpy(points).float())
    assert targets.tolist() == labels.tolist()


def test_signatures():
    loaded = {name: load_dataset(kind(name=name)) for name, kind in KINDS.items()}
    assert {name: dataset.input_schema for name, dataset in loaded.items()} == {
        "sum": InputSchema("regression", ("x1", "x2"), (2,), ("y",)),
        "line": InputSchema("regression", ("x",), (1,), ("y",)),
        "moons": InputSchema("binary", ("x1", "x2"), (2,), ("moon",), ("upper", "lower")),
    }
    assert {name: dataset.true_line for name, dataset in loaded.items()} == {
        "sum": None,
        "line": (3.0, 2.0),
        "moons": None,
    }
    for name, dataset in loaded.items():
        assert dataset.name == name
        assert (
            TypeAdapter(InputSchema).validate_json(json.dumps(dataset.input_schema.to_dict()))
            == dataset.input_schema
        )


def test_the_upper_moon_is_above_the_lower():
    train = load_dataset(MoonsDataset(name="moons", noise=0.0)).splits["train"]
    upper, lower = (train.inputs[train.targets == label, 1] for label in (0, 1))
    assert upper.min() >= 0 and lower.max() <= 0.5 and upper.mean() > lower.mean() + 0.5


@pytest.mark.parametrize(
    ("val", "test", "sizes"),
    [
        (0.2, 0.2, {"train": 60, "val": 20, "test": 20}),
        (0.25, 0.0, {"train": 75, "val": 25}),
        (0.0, 0.1, {"train": 90, "test": 10}),
        (0.0, 0.0, {"train": 100}),
        (0.01, 0.9, {"train": 9, "val": 1, "test": 90}),
    ],
)
@pytest.mark.parametrize("name", KINDS)
def test_splits_cover_all_rows_once(name, val, test, sizes):
    kind = KINDS[name]
    config = kind(name=name, n=100, val_fraction=val, test_fraction=test)
    dataset = load_dataset(config)
    splits = dataset.splits
    assert {split: len(rows) for split, rows in splits.items()} == sizes
    assert dataset.monitored == ("val" if val else "test" if test else "train")
    inputs, targets = config.draw()

    def rows(inputs, targets):
        return [(*x, y) for x, y in zip(inputs.tolist(), targets.flatten().tolist(), strict=True)]

    dealt = [row for split in splits.values() for row in rows(split.inputs, split.targets)]
    assert sorted(dealt) == sorted(rows(inputs, targets))
    assert dealt != rows(inputs, targets)


@pytest.mark.parametrize(
    ("n", "val", "test", "split"),
    [
        (1, 0.2, 0.2, "val"),
        (4, 0.3, 0.1, "test"),
        (100, 0.5, 0.5, "train"),
        (100, 0.9, 0.9, "train"),
        (1, 0.6, 0.0, "train"),
    ],
)
def test_a_split_without_rows(n, val, test, split):
    with pytest.raises(ConfigError) as error:
        load_dataset(SumDataset(name="sum", n=n, val_fraction=val, test_fraction=test))
    assert str(error.value) == (
        f"dataset: val_fraction={val} and test_fraction={test} of {plural(n, 'row')} leave no row to "
        f"{split}; change the fractions or have more rows"
    )


@pytest.mark.parametrize("name", KINDS)
def test_the_data_depends_on_its_own_seed_alone(name):
    def load(*overrides):
        config = running.config(f"dataset={name}", *overrides)
        return load_dataset(config.dataset).splits["train"]

    first, again, other = load("seed=1"), load("seed=2"), load("dataset.seed=1")
    assert torch.equal(first.inputs, again.inputs) and torch.equal(first.targets, again.targets)
    assert not torch.equal(first.inputs, other.inputs)
    assert not torch.equal(first.targets, other.targets)
