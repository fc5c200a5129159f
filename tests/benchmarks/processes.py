"""One run on two cores: two processes of one thread, one process of two threads, and one of one.

    python tests/benchmarks/processes.py [CASE [TURNS]]

Each is a whole command; what is printed is the training speed of its summary, in samples/s.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CASES = {
    "small": ("dataset=moons", "model.hidden=[16]", "trainer.batch_size=32", "trainer.epochs=30"),
    "usual": ("dataset=digits", "model.hidden=[256]", "trainer.batch_size=64", "trainer.epochs=30"),
    "larger": ("dataset=digits", "model.hidden=[256,256]", "trainer.batch_size=512", "trainer.epochs=60"),
    "wide": (
        "dataset=moons", "dataset.n=10000", "model.hidden=[1024,1024]", "trainer.batch_size=2048",
        "trainer.epochs=4",
    ),
}  # fmt: skip
WAYS = {
    "2 processes × 1 thread": (2, 1),
    "1 process × 2 threads": (1, 2),
    "1 process × 1 thread": (1, 1),
}
QUIET = ("model=mlp", "trainer=mini_batch", "run.plots=false", "run.loggers=[]", "run.progress=none")


def main(case: str = "", turns: int = 3) -> None:
    """Time all ways in turn, and print the medians."""
    for name in [case] if case else CASES:
        found: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(turns):
            for way, (processes, threads) in WAYS.items():
                found[way].append(samples_per_second(CASES[name], processes, threads))
        print(f"\n{name}: {' '.join(CASES[name])}; {turns} turns: samples/s")
        for way, speeds in found.items():
            print(
                f"  {way:<24}{statistics.median(speeds):>12,.0f}  ({min(speeds):,.0f} – {max(speeds):,.0f})"
            )


def samples_per_second(settings: tuple[str, ...], processes: int, threads: int) -> float:
    """Train in a new process, and return the speed that its summary tells."""
    sharing = (f"trainer.processes={processes}", f"trainer.threads={threads}")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mlpkit", "train", *QUIET, *settings, *sharing, "run.dir=run"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        summary = json.loads(Path(folder, "run", "summary.json").read_text())
    return float(summary["samples_per_second"])


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
