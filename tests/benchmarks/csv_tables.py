"""Somebody's table: from a csv to a scored model, and how a csv of 1 GB is read; time and peak memory."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from turns import PeerError

GB = 1 << 30
ROWS, NUMBERS, CATEGORIES = 100_000, 10, 7  # and a date, a code and the target: 20 columns
LARGE_ROWS, LARGE_NUMBERS, LARGE_CATEGORIES = 10_000_000, 7, 2  # 12 columns, 1 GB
PORTION = 500_000  # rows that are written at once
READINGS = 3  # of the large one, at most

READ = """
import sys
from mlpkit.data.table_file import read_table
print(read_table([sys.argv[1]]).table.nbytes)
"""


def run_table(repetitions: int) -> dict[str, float]:
    """Print the tables; return seconds and peak memory by name."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        found = _train(folder, repetitions)
        return found | _read(folder, min(repetitions, READINGS))


def _train(folder: Path, repetitions: int) -> dict[str, float]:
    path = _write(folder / "mixed.csv", ROWS, NUMBERS, CATEGORIES)
    mlpkit = [sys.executable, "-m", "mlpkit"]
    train = [*mlpkit, "train", f"data={path}", "target=y", "model=mlp", "trainer.epochs=10"]
    seconds, memory = [], []
    for _ in range(repetitions):
        taken = [_measure(command, folder) for command in (train, [*mlpkit, "evaluate"])]
        seconds.append(sum(wall for wall, _, _ in taken))
        memory.append(max(peak for _, peak, _ in taken))
    print(f"\n{ROWS:,} rows × 20 columns: train for 10 epochs, then evaluate, {repetitions} turns")
    _print("seconds of both commands", seconds)
    _print("peak memory, GB", memory)
    return {"train seconds": statistics.median(seconds), "train GB": max(memory)}


def _read(folder: Path, repetitions: int) -> dict[str, float]:
    path = _write(folder / "large.csv", LARGE_ROWS, LARGE_NUMBERS, LARGE_CATEGORIES)
    size = path.stat().st_size / GB
    seconds, times = [], []
    for turn in range(repetitions + 1):
        wall, peak, printed = _measure([sys.executable, "-c", READ, str(path)], folder)
        if turn:  # the first one fills the machine's file caches
            seconds.append(wall)
            times.append(peak * GB / int(printed))
    print(f"\n{LARGE_ROWS:,} rows × 12 columns, {size:.2f} GB of csv, read, {repetitions} turns")
    _print("seconds of the process", seconds)
    _print("peak memory, times the table's", times)
    return {"read seconds": statistics.median(seconds), "read memory": max(times)}


def _print(title: str, found: list[float]) -> None:
    print(f"  {title:<34}{statistics.median(found):>11.2f}  ({min(found):.2f} – {max(found):.2f})")


def _measure(command: list[str], folder: Path) -> tuple[float, float, str]:
    """Return a command's wall time, its peak memory in GB, and what it prints.

    Raises:
        PeerError: it failed.
    """
    with (folder / "stdout").open("w+") as stdout, (folder / "stderr").open("w+") as stderr:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=stdout, stderr=stderr)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        stdout.seek(0)
        stderr.seek(0)
        if process.returncode:
            raise PeerError(f"{' '.join(command)}: exit {process.returncode}: {stderr.read()[-300:]}")
        unit = 1 if sys.platform == "darwin" else 1024
        return seconds, usage.ru_maxrss * unit / GB, stdout.read()


def _write(path: Path, rows: int, numbers: int, categories: int) -> Path:
    """Write a csv of numbers, categories, a date, a code and a target of yes and no."""
    options = pyarrow.csv.WriteOptions(quoting_style="needed")
    with pyarrow.csv.CSVWriter(path, _table(1, numbers, categories, 0).schema, write_options=options) as file:
        for start in range(0, rows, PORTION):
            file.write_table(_table(min(PORTION, rows - start), numbers, categories, start))
    return path


def _table(rows: int, numbers: int, categories: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    columns = {f"number{i}": np.round(random.normal(50, 20, rows), 5) for i in range(numbers)}
    target = np.where(columns["number0"] + 20 * random.normal(size=rows) > 50, "yes", "no")
    for i in range(categories):
        words = np.array([f"city{place:02d}" for place in range(3 + 5 * i)])
        columns[f"city{i}"] = words[random.integers(0, len(words), rows)]
    days = random.integers(0, 1500, rows).astype("timedelta64[D]")
    more = {"day": np.datetime64("2020-01-01") + days, "code": random.integers(1, 6, rows), "y": target}
    return pa.table(columns | more)
