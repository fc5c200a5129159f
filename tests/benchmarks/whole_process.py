"""Whole processes: `mlpkit train` with all logs and pictures against the equivalent tutorial's script."""

import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from turns import PeerError, ratio

TUTORIALS = Path(__file__).with_name("tutorials")


@dataclass(frozen=True)
class Process:
    """A training from the command to its end.

    Attributes:
        title: what is trained.
        overrides: of `mlpkit train`.
        script: in `tutorials`, which does the same.
    """

    title: str
    overrides: tuple[str, ...]
    script: str


PROCESSES = {
    "whole-sum": Process(
        "sum, linear, SGD, 500 epochs",
        ("dataset=sum", "model=linear", "optimizer=sgd", "optimizer.lr=0.1", "trainer.epochs=500"),
        "sum_of_numbers.py",
    ),
    "whole-moons": Process(
        "moons, 2-64-64-1, 1000 epochs",
        ("dataset=moons", "model=mlp"),
        "moons.py",
    ),
    "whole-mnist": Process(
        "MNIST, 784-256-10, batch 64, 5 epochs",
        ("experiment=mnist_mlp", "trainer.epochs=5"),
        "mnist.py",
    ),
}


def run_process(name: str, repetitions: int) -> float:
    """Run both ways in turn; print a table; return mlpkit's share of the script's time."""
    process = PROCESSES[name]
    commands = {
        "mlpkit train": [sys.executable, "-m", "mlpkit", "train", *process.overrides],
        "the tutorial's script": [sys.executable, str(TUTORIALS / process.script)],
    }
    seconds: dict[str, list[float]] = {title: [] for title in commands}
    for turn in range(repetitions + 1):
        for title, command in commands.items():
            taken = seconds_of(command)
            if turn:  # the first one fills the machine's file caches
                seconds[title].append(taken)
    share = ratio(*seconds.values())
    print(f"\n{process.title}: seconds of the whole process, {repetitions} turns")
    for title, found in seconds.items():
        print(f"  {title:<34}{statistics.median(found):>11.2f}  ({min(found):.2f} – {max(found):.2f})")
    print(f"  mlpkit takes {share:.2f} of the script's time")
    return share


def seconds_of(command: list[str]) -> float:
    """Return the wall time of a command in an empty folder.

    Raises:
        PeerError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        seconds = time.perf_counter() - started
    if done.returncode:
        raise PeerError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
    return seconds
