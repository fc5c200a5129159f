"""A recipe for images over several seeds: test accuracy and the processor's seconds.

    python tests/benchmarks/images.py RECIPE [SEEDS [KEY=VALUE …]]

Each run is a command of its own on one thread, and its seconds are all that the process used, user and
system: start, reading the data and scoring too. The test accuracy is that of the last epoch, so that no epoch
is chosen; choices of the recipe were made on validation rows. The data lie in $MLPKIT_DATA.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ALONE = ("trainer.threads=1", "run.plots=false", "run.loggers=[]", "run.progress=none")


def main(recipe: str, seeds: int = 5, *overrides: str) -> None:
    """Train with each seed in turn; print a line for each, and the medians."""
    accuracies, seconds = [], []
    print(f"{recipe} {' '.join(overrides)}")
    for seed in range(seeds):
        summary, used = train(recipe, seed, overrides)
        accuracies.append(summary["test"]["accuracy"])
        seconds.append(used)
        print(f"  seed {seed}: test {accuracies[-1]:.4f}, {used:.1f} CPU s", flush=True)
    accuracy, middle = statistics.median(accuracies), statistics.median(seconds)
    print(
        f"  median: test {accuracy:.4f} ({min(accuracies):.4f} – {max(accuracies):.4f}), {middle:.1f} CPU s "
        f"({min(seconds):.1f} – {max(seconds):.1f})"
    )


def train(recipe: str, seed: int, overrides: tuple[str, ...]) -> tuple[dict[str, dict[str, float]], float]:
    """Return a run's summary, and the processor's seconds of its process."""
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        words = (f"experiment={recipe}", f"seed={seed}", *ALONE, *overrides, f"run.dir={run}")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "mlpkit", "train", *words],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return json.loads((run / "summary.json").read_text()), used


if __name__ == "__main__":
    name, *rest = sys.argv[1:]
    main(name, *(int(rest[0]), *rest[1:]) if rest else ())
