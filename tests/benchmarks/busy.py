"""A machine that is not idle: whole commands beside other programs, against what a fair share would give.

The fair share of a command is what it takes with one thread on a quiet machine, divided by the part of a core
that a fair scheduler leaves it: with n busy programs on c cores c / (n + 1), and no more than one.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from turns import PeerError, ratio

from mlpkit.system.device import cores

BUSY = "while True: pass"
LIGHT = """
import time
while True:
    until = time.perf_counter() + 0.01
    while time.perf_counter() < until:
        pass
    time.sleep(0.02)
"""
NEIGHBOURS = {"none": [], "a third of a core": [LIGHT], "one busy": [BUSY], "four busy": 4 * [BUSY]}
USED = {"none": 0.0, "a third of a core": 1 / 3, "one busy": 1.0, "four busy": 4.0}  # cores
COMMANDS = {
    "MNIST 784-256-10, 2 epochs": ("experiment=mnist_mlp", "trainer.epochs=2"),
    "sum 2-64-64-1, 500 epochs": ("experiment=sum", "model=mlp"),
}
OWN_WAITING = {"GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"}  # what OpenMP does unless it is told
LATEST = 120.0  # seconds, after which a command is given up


def run_busy(repetitions: int) -> dict[str, float]:
    """Print a table for each command; return the worst ratios: to the fair share, and on a quiet machine."""
    fair, quiet = [], []
    for title, overrides in COMMANDS.items():
        print(f"\n{title}: seconds of the whole command, and of its training, {repetitions} turns")
        found: dict[str, list[tuple[float, float]]] = {}
        for _ in range(repetitions):
            for name, codes in NEIGHBOURS.items():
                with _neighbours(codes):
                    found.setdefault(name, []).append(_seconds(overrides))
            found.setdefault("one thread", []).append(_seconds((*overrides, "trainer.threads=1")))
            found.setdefault("own waiting", []).append(_seconds(overrides, OWN_WAITING))
        for name in NEIGHBOURS:
            share = min(1.0, cores() / (USED[name] + 1))
            ratios = [
                ratio(
                    [taken[part] for taken in found[name]], [one[part] / share for one in found["one thread"]]
                )
                for part in (0, 1)
            ]
            times = f"{ratios[0]:.2f}, {ratios[1]:.2f} of the fair share"
            print(f"  neighbours: {name:<22}{_shown(found[name])}   {times}")
            fair += ratios
        print(f"  one thread, no neighbour          {_shown(found['one thread'])}")
        print(f"  OpenMP's own waiting, no neighbour{_shown(found['own waiting'])}")
        quiet.append(ratio(*([whole for whole, _ in found[name]] for name in ("none", "own waiting"))))
    return {"fair share": max(fair), "quiet": max(quiet)}


def _shown(found: list[tuple[float, float]]) -> str:
    return "".join(f"{statistics.median(part):>9.2f}" for part in zip(*found, strict=True))


def _seconds(overrides: tuple[str, ...], environment: dict[str, str] | None = None) -> tuple[float, float]:
    """Return the seconds of a command and of its training.

    Raises:
        PeerError: it failed, or took too long.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mlpkit", "train", *overrides, "run.dir=outputs/run"]
        started = time.perf_counter()
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                capture_output=True,
                timeout=LATEST,
                env={**os.environ, **(environment or {})},
            )
        except subprocess.TimeoutExpired:
            raise PeerError(f"a command took more than {LATEST:.0f} s") from None
        seconds = time.perf_counter() - started
        if done.returncode:
            raise PeerError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.decode()[-300:]}")
        summary = json.loads((Path(folder) / "outputs/run/summary.json").read_text())
    return seconds, summary["train_seconds"]


@contextmanager
def _neighbours(codes: list[str]) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-S", "-c", code]) for code in codes]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
