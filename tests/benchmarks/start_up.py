"""How soon commands answer that need no torch, and how long the choice of a matrix product takes."""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from whole_process import seconds_of

COMMANDS = ("--help", "list", "config", "inspect", "compare")
MEASURED = "matmul"  # beside the commands
MEASURE = """
import time, torch
from mlpkit.engines.matmul_choice import measure
started = time.perf_counter()
measure((64, 784, 256))
print(time.perf_counter() - started)
"""


def run_start_up(repetitions: int) -> dict[str, float]:
    """Print the seconds of each, and return the medians by name."""
    print(f"\nseconds until a command has ended, {repetitions} turns")
    found: dict[str, list[float]] = {name: [] for name in (*COMMANDS, MEASURED)}
    with tempfile.TemporaryDirectory() as folder:
        mlpkit = [sys.executable, "-m", "mlpkit"]
        run = Path(folder) / "run"
        short = (f"run.root={folder}", "trainer.epochs=2", "run.plots=false", "run.tensorboard=false")
        seconds_of([*mlpkit, "train", "dataset=moons", f"run.dir={run}", *short])
        for _ in range(repetitions):
            for name in COMMANDS:
                about = [str(run)] if name in ("inspect", "compare") else []
                found[name].append(seconds_of([*mlpkit, name, *about]))
            done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
            found[MEASURED].append(float(done.stdout))
    medians = {name: statistics.median(seconds) for name, seconds in found.items()}
    for name, seconds in found.items():
        title = "the choice of a matrix product" if name == MEASURED else f"mlpkit {name}"
        print(f"  {title:<34}{medians[name]:>11.3f}  ({min(seconds):.3f} – {max(seconds):.3f})")
    return medians
