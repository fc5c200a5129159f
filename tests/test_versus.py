"""Two settings with growing numbers of seeds: the error of the looks, and real runs."""

from pathlib import Path

import numpy as np
import pytest
from conftest import Refused
from scipy import stats

from mlpkit.analysis.versus import judge, looks, share
from mlpkit.cli.main import run as command
from mlpkit.folders.found_runs import find_runs
from mlpkit.folders.indexed_results import results_below
from mlpkit.sweeps.ledger import Ledger

SMALL = ("dataset=moons", "dataset.noise=0.3", "model=mlp", "model.hidden=[4]", "trainer.epochs=20")


def test_the_looks() -> None:
    assert looks(64) == [8, 16, 32, 64]
    assert (looks(100), looks(8)) == ([8, 16, 32, 64], [8])
    shares = [share(look) for look in range(len(looks(10_000)))]
    assert shares[:6] == pytest.approx([0.01] * 4 + [0.005, 0.0025])
    assert sum(shares) < 0.05, "whatever the number of looks"


def simulated(difference: float, margin: float | None, most: int = 64) -> dict[str, float]:
    """Return how often each verdict is given, over 2,000 comparisons of scores with the spread 1."""
    random = np.random.default_rng(0)
    counts = dict.fromkeys(("first", "second", "alike", "open"), 0)
    for _ in range(2000):
        first = random.normal(size=most)
        second = first + random.normal(size=most) + difference
        for look, seeds in enumerate(looks(most)):
            verdict = judge(first[:seeds], second[:seeds], True, margin, look)
            if verdict.kind != "open":
                break
        counts[verdict.kind] += 1
    return {kind: count / 2000 for kind, count in counts.items()}


@pytest.mark.long
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
    low, high = stats.ttest_rel(second, first).confidence_interval(1 - 0.005)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_what_no_test_can_tell_stays_open() -> None:
    first, second = [0.5, 0.61, 0.7, 0.65, 0.6], [0.7, 0.8, 0.9, 0.86, 0.8]
    assert (judge(first, second, True, None, 0).kind, judge(first, second, False, None, 0).kind) == (
        *("second", "first"),
    )
    assert judge(first[:4], second[:4], True, None, 0).kind == "open", "fewer than five seeds"
    assert judge([0.5] * 8, [0.7] * 8, True, None, 0).kind == "open", "the same difference for all seeds"
    assert judge([0.5] * 8, [0.5] * 8, True, 0.1, 0).kind == "open", "and so for 0"


def test_runs_are_trained_once_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("versus", "optimizer.lr=0.0001,0.1", *SMALL)
    assert command([*words, "--max-seeds", "16"]) == 0
    printed = capsys.readouterr().out
    assert printed.endswith("optimizer.lr=0.1 is better than optimizer.lr=0.0001\n")
    runs = results_below([Path("outputs/versus-optimizer.lr")], print)
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
    low, high = stats.ttest_rel(values[1], values[0]).confidence_interval(1 - 0.01)
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
    words = ("versus", "optimizer.lr=0.01,0.1", *SMALL, "--max-seeds", "8")
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


@pytest.mark.long
def test_diverged_seeds_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A setting that often diverges is not called better for the seeds that are left without a word."""
    monkeypatch.chdir(tmp_path)
    small = (
        "dataset=diabetes",
        "model=mlp",
        "model.hidden=[4]",
        "model.activation=relu",
        "trainer.epochs=20",
    )
    words = (
        "versus",
        "optimizer.lr=0.01,0.5",
        *small,
        "optimizer=sgd",
        "--max-seeds",
        "8",
        "run.plots=false",
    )
    assert command([*words]) == 0
    runs = results_below([Path("outputs")], print)
    scored = sum(run.best is not None for run in runs) - 8
    assert 2 <= scored < 8
    said = f"warning: compared on the {scored} of 8 seeds that have both scores"
    assert said in capsys.readouterr().out
