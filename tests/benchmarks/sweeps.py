"""Sweeps: runs trained together against the same runs one after another, and against a grid search."""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from turns import PeerError, ratio
from whole_process import TUTORIALS, seconds_of

LONE_RUNS = Path(__file__).with_name("lone_runs.py")

MOONS = (
    *("dataset=moons", "model=mlp", "model.hidden=[4]"),
    *("optimizer.lr=0.003,0.01,0.03,0.1", "seed=range(16)"),
)
MNIST = (
    *("dataset=mnist", "model=mlp", "model.hidden=[256]", "trainer=mini_batch", "trainer.epochs=2"),
    *("optimizer.lr=0.0003,0.001,0.003,0.01", "seed=range(4)"),
)
TRAINED = {
    "sweep-moons": ("64 runs of moons 2-4-1, 1000 full-batch epochs", MOONS),
    "sweep-mnist": ("16 runs of MNIST 784-256-10, batch 64, 2 epochs", MNIST),
}
SWEEPS = (*TRAINED, "sweep-grid")


def run_sweep(name: str, repetitions: int) -> float:
    """Run both ways in turn; print a table; return how many times as fast mlpkit's sweep is."""
    if name == "sweep-grid":
        title = "64 runs of moons 2-4-1, the whole command, against a grid search on 2 processes"
        sweep = [sys.executable, "-m", "mlpkit", "train", "-m", *MOONS]
        grid = [sys.executable, str(TUTORIALS / "grid_search.py")]
        ways: dict[str, Callable[[], float]] = {
            "mlpkit train -m": lambda: seconds_of(sweep),
            "scikit-learn GridSearchCV": lambda: seconds_of(grid),
        }
    else:
        title, overrides = TRAINED[name]
        title = f"{title}: seconds of training"
        ways = {
            "mlpkit train -m": lambda: together(overrides),
            "one after another, one process": lambda: alone(overrides),
        }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repetitions):
        for way, measure in ways.items():
            seconds[way].append(measure())
    ours, theirs = seconds.values()
    faster = ratio(theirs, ours)
    print(f"\n{title}, {repetitions} turns")
    for way, found in seconds.items():
        print(f"  {way:<34}{statistics.median(found):>11.2f}  ({min(found):.2f} – {max(found):.2f})")
    print(f"  the sweep is {faster:.2f} times as fast")
    return faster


def together(overrides: tuple[str, ...]) -> float:
    """Return the seconds of training of a sweep's groups: each run of a group says its group's."""
    with tempfile.TemporaryDirectory() as folder:
        _output([sys.executable, "-m", "mlpkit", "train", "-m", *overrides], folder)
        summaries = Path(folder).glob("outputs/*/sweep-*/*/summary.json")
        return sum({json.loads(path.read_text())["train_seconds"] for path in summaries})


def alone(overrides: tuple[str, ...]) -> float:
    """Return the seconds of training of the same runs, one after another in one process."""
    with tempfile.TemporaryDirectory() as folder:
        return float(_output([sys.executable, str(LONE_RUNS), *overrides], folder).splitlines()[-1])


def _output(command: list[str], folder: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise PeerError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout
