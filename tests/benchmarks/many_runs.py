"""Very many runs: time, memory, files and bytes of each further run of a sweep, and of listing them again."""

import os
import sys
import tempfile
import time
from pathlib import Path

NUMBERS = (500, 2000)  # runs; what the second sweep takes more is divided by their difference
MOONS = ("dataset=moons", "model=mlp", "model.hidden=[4]", "trainer.epochs=200")
MLPKIT = (sys.executable, "-m", "mlpkit")


def run_many(repetitions: int) -> None:
    """Print two tables: what a further run costs a sweep, and the time of ls and compare."""
    del repetitions  # a sweep of thousands of runs is long enough
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = f"{scratch}/cache"
        found = [_sweep(Path(scratch, str(number)), number) for number in NUMBERS]
        print(f"\nsweeps of moons 2-4-1, 200 epochs: {' and '.join(f'{n:,}' for n in NUMBERS)} runs")
        more = NUMBERS[1] - NUMBERS[0]
        for title in found[0]:
            few, many = (each[title] for each in found)
            print(f"  {title:<28}{few:>14,.1f}{many:>14,.1f}{(many - few) / more:>14,.3f} per run")
        sweep = Path(scratch, str(NUMBERS[1]))
        print(f"\nseconds for {NUMBERS[1]:,} runs, first and again")
        for command in ("ls", "compare"):
            first, again = (_measured(command, str(sweep))[0] for _ in range(2))
            print(f"  mlpkit {command:<21}{first:>14.2f}{again:>14.2f}")


def _sweep(folder: Path, number: int) -> dict[str, float]:
    """Train a sweep; return what it took, by name."""
    seconds, memory = _measured("train", "-m", *MOONS, f"seed=range({number})", f"run.dir={folder}")
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        "seconds": seconds,
        "memory (KB)": memory,
        "ledger (bytes)": (folder / "ledger.sqlite").stat().st_size,
        "files": len(files),
        "files (KB)": sum(path.stat().st_size for path in files) / 1000,
    }


def _measured(*arguments: str) -> tuple[float, float]:
    """Run a command; return its seconds and the most memory that it used, in KB."""
    begun = time.perf_counter()
    with Path(os.devnull).open("wb") as devnull:
        quiet = [(os.POSIX_SPAWN_DUP2, devnull.fileno(), stream) for stream in (1, 2)]
        child = os.posix_spawn(sys.executable, [*MLPKIT, *arguments], os.environ, file_actions=quiet)
        _, status, used = os.wait4(child, 0)
    assert status == 0, f"mlpkit {' '.join(arguments)}: exit status {status}"
    return time.perf_counter() - begun, used.ru_maxrss
