"""Very many runs: what each further run of a sweep takes, and the time of listing very many.

    python tests/benchmarks many

MLPKIT_BENCH_RUNS sets the runs of the larger sweep (800), MLPKIT_BENCH_LISTED those that are listed (10,000).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from simulated_runs import Simulation, simulate

# Runs of two sweeps; what the second takes more is divided by their difference.
NUMBERS = (200, int(os.environ.get("MLPKIT_BENCH_RUNS", "800")))
LISTED = int(os.environ.get("MLPKIT_BENCH_LISTED", "10000"))  # simulated runs
PLANNED = (2_000, 20_000)  # jobs of a dry run
SETTINGS = 100
MOONS = ("dataset=moons", "model=mlp", "model.hidden=[4]", "trainer.epochs=200")
WAYS = ((), ("run.files=minimal",))
ADDITIONS = 10_000_000  # of the yardstick: processors and hours differ
MLPKIT = (sys.executable, "-m", "mlpkit")
MEASURED = str(Path(__file__).with_name("measured_command.py"))


def run_many(repetitions: int) -> None:
    """Print what a further run costs a sweep, what a planned one costs, and the time of ls and compare."""
    del repetitions  # a sweep of thousands of runs is long enough
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = f"{scratch}/cache"
        for place, way in enumerate(WAYS):
            _print_sweeps(Path(scratch, str(place)), way)
        _print_planned()
        for place, name in ((0, "all files"), (len(WAYS) - 1, "one file each")):
            source = next(Path(scratch, str(place), str(NUMBERS[0])).glob("0000-*"))
            _print_listed(source, Path(scratch, f"listed-{place}"), name)


def _print_sweeps(folder: Path, way: tuple[str, ...]) -> None:
    """Print what two sweeps took, and what each run took that the larger one has more."""
    found = [_sweep(folder / str(number), number, way) for number in NUMBERS]
    both = " and ".join(f"{number:,}" for number in NUMBERS)
    _print_yardstick()
    print(f"sweeps of moons 2-4-1, 200 epochs, {' '.join(way) or 'all files'}: {both} runs")
    for title in found[0]:
        few, many = (each[title] for each in found)
        more = (many - few) / (NUMBERS[1] - NUMBERS[0])
        print(f"  {title:<28}{few:>14,.1f}{many:>14,.1f}{more:>14,.4f} per run")


def _sweep(folder: Path, number: int, way: tuple[str, ...]) -> dict[str, float]:
    """Train a sweep; return what it took, by name."""
    used = _measured("train", "-m", *MOONS, *way, f"seed=range({number})", f"run.dir={folder}")
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        **used,
        "ledger (bytes)": (folder / "ledger.sqlite").stat().st_size,
        "files": len(files),
        "files (KB)": sum(path.stat().st_size for path in files) / 1000,
    }


def _print_planned() -> None:
    """Print the memory of sweeps that are planned and not trained."""
    print("\nmemory (KB) of a dry run")
    sizes = []
    for number in PLANNED:
        used = _measured("train", "-m", *MOONS, f"seed=range({number})", "--max-jobs=1000000", "--dry-run")
        sizes.append(used["memory (KB)"])
        print(f"  {number:>10,} runs{sizes[-1]:>14,.0f}")
    print(f"  per run{(sizes[1] - sizes[0]) / (PLANNED[1] - PLANNED[0]):>24,.2f}")


def _print_listed(source: Path, sweep: Path, name: str) -> None:
    """Print the time of commands that read all runs of a simulated sweep."""
    simulate(source, sweep, LISTED, Simulation(SETTINGS))
    _print_yardstick()
    print(f"{LISTED:,} runs of {SETTINGS} settings, {name}, first and again")
    titles = "seconds", "CPU s", "seconds", "CPU s"
    print(" " * 18 + "".join(f"{title:>10}" for title in titles) + f"{'memory (KB)':>14}")
    for command in ("ls", "compare"):
        first, again = (_measured(command, str(sweep), "--top=3") for _ in range(2))
        print(
            f"  mlpkit {command:<9}{first['seconds']:>10.2f}{first['processor seconds']:>10.2f}"
            f"{again['seconds']:>10.2f}{again['processor seconds']:>10.2f}{again['memory (KB)']:>14,.0f}"
        )


def _print_yardstick() -> None:
    """Print how fast the processor is now."""
    begun, total = time.process_time(), 0
    for number in range(ADDITIONS):
        total += number
    print(f"\n{ADDITIONS:,} additions in Python: {time.process_time() - begun:.2f} processor seconds")


def _measured(*arguments: str) -> dict[str, float]:
    """Run a command; return its seconds, its processor time and the most memory that it used, in KB."""
    command = [sys.executable, MEASURED, *MLPKIT, *arguments]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    status, seconds, processor, memory = json.loads(found)
    assert status == 0, f"mlpkit {' '.join(arguments)}: exit status {status}"
    return {"seconds": seconds, "processor seconds": processor, "memory (KB)": memory}
