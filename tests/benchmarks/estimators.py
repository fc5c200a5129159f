"""mlpkit.sklearn beside scikit-learn's own networks: the same data, parameters and epochs, in turn."""

import statistics
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.datasets import load_digits, make_classification, make_friedman1
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlpkit import sklearn as ours
from mlpkit.config.config import parse
from mlpkit.data.load import load_dataset

Data = Callable[[], tuple[Any, Any]]


@dataclass(frozen=True)
class Case:
    """Data, and parameters that differ from the defaults of both.

    Attributes:
        title: in words.
        data: returns inputs and targets.
        regression: whether the targets are numbers.
        parameters: of both.
        members: networks of an ensemble.
    """

    title: str
    data: Data
    regression: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    members: int = 1


def _small() -> tuple[Any, Any]:
    return make_classification(100, 4, random_state=0)  # type: ignore[no-any-return]


def _digits() -> tuple[Any, Any]:
    return load_digits(return_X_y=True)  # type: ignore[no-any-return]


def _digits32() -> tuple[Any, Any]:
    inputs, targets = _digits()
    return inputs.astype(np.float32), targets


def _friedman() -> tuple[Any, Any]:
    return make_friedman1(2000, noise=1, random_state=0)  # type: ignore[no-any-return]


def _mnist() -> tuple[Any, Any]:
    """Return the 60,000 training pictures; as in scikit-learn's bench_mnist.py, float32 from 0 to 1."""
    names = {"model": "mlp", "optimizer": "adam", "scheduler": "none", "init": "default"}
    config = parse({"dataset": {"name": "mnist"}, **{group: {"name": name} for group, name in names.items()}})
    split = load_dataset(config.dataset).splits["train"]
    return split.all_inputs.numpy(), split.all_targets.numpy()


LONG = {"n_iter_no_change": 10_000}  # both train all epochs
CASES = {
    "small": Case("100 × 4, 100 epochs", _small, parameters={"max_iter": 100, **LONG}),
    "digits": Case("digits, 1,797 × 64, defaults", _digits),
    "digits, float32": Case("the same in float32", _digits32),
    "digits, 8 members": Case("the same, 8 networks", _digits32, members=8),
    "friedman": Case("friedman1, 2,000 × 10, defaults", _friedman, regression=True),
    "mnist": Case(
        "MNIST, float32, 784-100-100-10 (bench_mnist.py), 3 epochs",
        _mnist,
        parameters={"hidden_layer_sizes": (100, 100), "max_iter": 3, **LONG},
    ),
}


def run_estimators(repetitions: int) -> dict[str, float]:
    """Fit both in turn; print times and scores on a fifth of the rows; return how many times as fast ours is.

    Args:
        repetitions: turns, each with another split and seed.
    """
    print(f"\nsklearn: medians of {repetitions} fits in turn; score: accuracy or R², mean")
    print(f"{'':<60}{'mlpkit':>9}{'scikit':>9}{'times':>7}{'score':>9}{'scikit':>9}")
    found = {}
    for name, case in CASES.items():
        inputs, targets = case.data()
        turns = [_turn(case, inputs, targets, seed) for seed in range(-1, repetitions)][1:]  # one to warm up
        mine, theirs = (statistics.median(turn[peer][0] for turn in turns) for peer in (0, 1))
        scores = [statistics.mean(turn[peer][1] for turn in turns) for peer in (0, 1)]
        found[name] = statistics.median(turn[1][0] / turn[0][0] for turn in turns)
        print(f"{case.title:<60}{mine:>9.3f}{theirs:>9.3f}{found[name]:>7.2f}", end="")
        print("".join(f"{score:>9.4f}" for score in scores), flush=True)
    return found


def _turn(case: Case, inputs: Any, targets: Any, seed: int) -> list[tuple[float, float]]:
    """Return seconds and score of mlpkit and of scikit-learn."""
    seed = max(seed, 0)
    labels = None if case.regression else targets
    train, test, y, true = train_test_split(
        inputs, targets, test_size=0.2, random_state=seed, stratify=labels
    )
    kind = ours.MLPRegressor if case.regression else ours.MLPClassifier
    mine = kind(random_state=seed, n_members=case.members, **case.parameters)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for model in (mine, _theirs(case, seed)):
            started = perf_counter()
            model.fit(train, y)
            found.append((perf_counter() - started, float(model.score(test, true))))
    return found


def _theirs(case: Case, seed: int) -> Any:
    """Return what scikit-learn's users write: its networks do not standardise."""
    kind = MLPRegressor if case.regression else MLPClassifier
    members = [kind(random_state=seed + member, **case.parameters) for member in range(case.members)]
    model = members[0]
    if case.members > 1:
        model = VotingClassifier([(str(k), member) for k, member in enumerate(members)], voting="soft")
    return make_pipeline(StandardScaler(), model)
