"""`mlpkit predict` and `evaluate` on files larger than a portion: rows per second, processor time and memory.

`python tests/benchmarks/large_predictions.py [MILLIONS] [TURNS] [PAIR …]` writes so many million rows of 20
numbers and a target as parquet (csv and JSON lines get a tenth of them), trains a 20-64-64-1 network on 5,000
rows, and predicts each file by the command, which starts, loads the model, and writes its predictions.
A pair is such as .csv:.parquet, or .csv:evaluate; all of them if none is named.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

COLUMNS = 20
PART = 250_000  # rows that are written at once, which is a row group of parquet
MB = 1 << 20
MLPKIT = [sys.executable, "-m", "mlpkit"]
PAIRS = (  # input and output
    ".parquet:.parquet",
    ".parquet:.csv",
    ".csv:.parquet",
    ".csv:.csv",
    ".jsonl:.parquet",
    ".jsonl:.jsonl",
    ".parquet:evaluate",
    ".csv:evaluate",
)


def main(millions: float, turns: int, pairs: Sequence[str]) -> None:
    """Print a line for each pair of files."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        train = folder / "train.parquet"
        parquet.write_table(next(_tables(5000)), train)
        options = ("model=mlp", "model.hidden=[64,64]", "trainer.epochs=2", "run.plots=false")
        _measure([*MLPKIT, "train", f"data={train}", "target=y", *options], folder)
        print(f"20-64-64-1, {turns} turns: medians (range)")
        _predict(folder, _write(folder / "one.parquet", 1), ".parquet", 1, turns)
        for source, output in (pair.split(":") for pair in pairs):
            rows = int(millions * (1e6 if source == ".parquet" and output != "evaluate" else 1e5))
            path = _write(folder / f"{rows}{source}", rows)
            if output == "evaluate":
                command = [*MLPKIT, "evaluate", "--input", str(path)]
                _print(f"evaluate {source}", command, folder, rows, turns)
            else:
                _predict(folder, path, output, rows, turns)


def _predict(folder: Path, path: Path, output: str, rows: int, turns: int) -> None:
    target, size = folder / f"out{output}", f"{path.stat().st_size / MB:,.0f} MB"
    command = [*MLPKIT, "predict", "--input", str(path), "--output", str(target)]
    _print(f"predict {path.suffix} ({size}) to {output}", command, folder, rows, turns)
    target.unlink()


def _print(title: str, command: list[str], folder: Path, rows: int, turns: int) -> None:
    seconds, processor, memory = zip(*(_measure(command, folder) for _ in range(turns)), strict=True)
    rates = [rows / each for each in seconds]
    wall, cpu, rate = (statistics.median(each) for each in (seconds, processor, rates))
    span = f"({min(rates):,.0f} – {max(rates):,.0f})"
    print(
        f"  {title:<46}{rows:>11,} rows {wall:7.1f} s, {cpu:7.1f} CPU s, {rate:>9,.0f} rows/s {span}, ",
        end="",
    )
    print(f"at most {max(memory):,.0f} MB", flush=True)


def _measure(command: list[str], folder: Path) -> tuple[float, float, float]:
    """Return a command's wall time, processor time and peak memory in MB."""
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / MB


def _write(path: Path, rows: int) -> Path:
    if path.exists():
        return path
    schema = next(_tables(1)).schema
    if path.suffix == ".parquet":
        with parquet.ParquetWriter(path, schema) as writer:
            _each(rows, writer.write_table)
    elif path.suffix == ".csv":
        with csv.CSVWriter(path, schema) as writer:
            _each(rows, writer.write_table)
    else:
        with path.open("w") as stream:
            pattern = "{" + ", ".join(f'"{name}": %r' for name in schema.names) + "}\n"
            _each(rows, lambda table: stream.writelines(_lines(table, pattern)))
    return path


def _lines(table: pa.Table, pattern: str) -> Iterator[str]:
    columns = [column.to_pylist() for column in table.columns]
    return (pattern % row for row in zip(*columns, strict=True))


def _each(rows: int, write: Callable[[pa.Table], object]) -> None:
    for table in _tables(rows):
        write(table)


def _tables(rows: int) -> Iterator[pa.Table]:
    """Yield rows of normal numbers, which have six digits, and a target."""
    random = np.random.default_rng(0)
    for start in range(0, rows, PART):
        x = random.normal(size=(min(PART, rows - start), COLUMNS)).round(5)
        y = x[:, :5].sum(1) + random.normal(size=len(x)).round(5)
        yield pa.table({f"x{place}": x[:, place] for place in range(COLUMNS)} | {"y": y})


if __name__ == "__main__":
    given = [*sys.argv[1:], *("4", "3")[len(sys.argv) - 1 :]]
    main(float(given[0]), int(given[1]), given[2:] or PAIRS)
