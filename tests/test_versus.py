"""Two settings with growing numbers of seeds: the error of the looks, and real runs."""

from pathlib import Path

import numpy as np
import pytest
from conftest import Refused
from scipy import stats

from mlpkit.analysis.versus import judge, looks
from mlpkit.cli.main import run as command
from mlpkit.runs.results import find_runs, read_results
from mlpkit.sweep.ledger import Ledger

SMALL = ("dataset=moons", "dataset.noise=0.3", "model=mlp", "model.hidden=[4]", "trainer.epochs=20")


def test_the_looks() -> None:
    assert looks(64) == [8, 16, 32, 64]
    assert looks(100) == [8, 16, 32, 64, 100]
    assert (looks(8), looks(5)) == ([8], [5])


def simulated(difference: float, margin: float | None, most: int = 64) -> dict[str, float]:
    """Return how often each verdict is given, over 2,000 comparisons of scores with the spread 1."""
    random = np.random.default_rng(0)
    counts = dict.fromkeys(("first", "second", "alike", "open"), 0)
    for _ in range(2000):
        first = random.normal(size=most)
        second = first + random.normal(size=most) + difference
        for seeds in looks(most):
            verdict = judge(first[:seeds], second[:seeds], True, margin, len(looks(most)))
            if verdict.kind != "open":
                break
        counts[verdict.kind] += 1
    return {kind: count / 2000 for kind, count in counts.items()}


def test_the_error_of_all_looks_is_kept() -> None:
    """At most 5 % of equal settings are told apart; real differences are found, in their direction."""
    equal = simulated(0.0, None)
    assert equal["first"] + equal["second"] <= 0.05
    found = simulated(0.5, None)
    assert found["second"] > 0.9 and found["first"] < 0.005
    assert simulated(-1.0, None)["first"] > 0.99


def test_a_difference_of_the_margin_is_seldom_called_alike() -> None:
    assert simulated(0.5, 0.5)["alike"] <= 0.05
    assert simulated(0.0, 0.5)["alike"] > 0.7


def test_the_interval_is_the_paired_t_interval_at_the_level_of_a_look() -> None:
    first, second = [0.5, 0.6, 0.7, 0.65, 0.6], [0.7, 0.65, 0.9, 0.8, 0.7]
    found = judge(first, second, True, None, 4)
    low, high = stats.ttest_rel(second, first).confidence_interval(1 - 0.05 / 4)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert judge(first, second, False, None, 1).kind == "first"
    assert judge([0.5, 0.6], [0.7, 0.8], True, None, 1).kind == "open"  # the same difference in both


def test_runs_are_trained_once_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("versus", "optimizer.lr=0.0001,0.1", *SMALL)
    assert command([*words, "--max-seeds", "16"]) == 0
    printed = capsys.readouterr().out
    assert printed.endswith("optimizer.lr=0.1 is better than optimizer.lr=0.0001\n")
    runs = read_results(find_runs([Path("outputs/versus-optimizer.lr")], print), print)
    sides = {
        lr: {
            run.settings["seed"]: run.best.value
            for run in runs
            if run.best and run.settings["optimizer.lr"] == lr
        }
        for lr in (0.0001, 0.1)
    }
    seeds = list(range(len(sides[0.1])))
    values = [[sides[lr][seed] for seed in seeds] for lr in sides]
    low, high = stats.ttest_rel(values[1], values[0]).confidence_interval(1 - 0.05 / 2)
    assert f"({low:+.4g} to {high:+.4g})" in printed.splitlines()[-2]
    assert command([*words, "--max-seeds", "16"]) == 0
    again = capsys.readouterr().out
    assert again.splitlines() == printed.splitlines()[-2:], "nothing is trained again"
    assert len(find_runs([Path("outputs")], print)) == len(runs)
    (look,) = Path("outputs/test-looks.jsonl").read_text().splitlines()
    assert '"path": "versus-optimizer.lr/sweep-' in look, "versus scores test splits, so that it is counted"


def test_a_killed_comparison_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what its sweep had finished is kept: the rest is trained in a new one."""
    monkeypatch.chdir(tmp_path)
    words = ("versus", "optimizer.lr=0.01,0.1", *SMALL, "--max-seeds", "5")
    assert command([*words]) == 0
    (sweep,) = Path("outputs/versus-optimizer.lr").iterdir()
    with Ledger(sweep / "ledger.sqlite") as ledger:
        ledger.mark([0, 1, 2], "waiting")
    assert command([*words]) == 0
    _, second = sorted(Path("outputs/versus-optimizer.lr").iterdir())
    assert len(find_runs([second], print)) == 3


def test_what_cannot_be_compared(refused: Refused) -> None:
    assert refused("versus", "optimizer.lr=1,2,3", *SMALL, code=2).startswith("versus: optimizer.lr=1,2,3: ")
    assert refused("versus", "optimizer.lr=1", *SMALL, code=2).startswith("versus: optimizer.lr=1: ")
    assert refused("versus", "optimizer.lr=0.1,0.2", *SMALL, "seed=1", code=2).startswith("versus: ")
    assert refused("versus", "optimizer.lr=0.1,0.2", *SMALL, "--margin=0", code=2).startswith("--margin=0: ")
