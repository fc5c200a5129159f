"""`mlpkit predict` and `evaluate` on files larger than a portion: rows per second, processor time and memory.

`python tests/benchmarks/large_predictions.py [MILLIONS] [TURNS]` writes so many million rows of 20 numbers
and a target as parquet (csv and JSON lines get a tenth of them), trains a 20-64-64-1 network on 5,000 rows,
and predicts each file by the command, which starts, loads the model, and writes its predictions to the disk.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

COLUMNS = 20
PART = 250_000  # rows that are written at once, which is a row group of parquet
MB = 1 << 20
MLPKIT = [sys.executable, "-m", "mlpkit"]
PAIRS = (  # input and output
    (".parquet", ".parquet"),
    (".parquet", ".csv"),
    (".csv", ".parquet"),
    (".csv", ".csv"),
    (".jsonl", ".parquet"),
    (".jsonl", ".jsonl"),
)


def main(millions: float, turns: int) -> None:
    """Print a line for each pair of files."""
    rows = int(millions * 1e6)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        train = folder / "train.parquet"
        parquet.write_table(next(_tables(5000)), train)
        options = ("model=mlp", "model.hidden=[64,64]", "trainer.epochs=2", "run.plots=false")
        _measure([*MLPKIT, "train", f"data={train}", "target=y", *options], folder)
        print(f"20-64-64-1, {turns} turns: medians (range)")
        _predict(folder, "one row", _write(folder / "one.parquet", 1), ".parquet", 1, turns)
        for source, output in PAIRS:
            count = rows if source == ".parquet" else rows // 10
            path = folder / f"in{source}"
            if not path.exists():
                _write(path, count)
            size = f"{path.stat().st_size / MB:,.0f} MB"
            _predict(folder, f"predict {source} ({size}) to {output}", path, output, count, turns)
        for source in (".parquet", ".csv"):
            path, count = folder / f"in{source}", rows // 10
            if source == ".parquet":
                path = _write(folder / "tenth.parquet", count)
            _print(f"evaluate {source}", [*MLPKIT, "evaluate", "--input", str(path)], folder, count, turns)


def _predict(folder: Path, title: str, path: Path, output: str, rows: int, turns: int) -> None:
    target = folder / f"out{output}"
    command = [*MLPKIT, "predict", "--input", str(path), "--output", str(target)]
    _print(title, command, folder, rows, turns)
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
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 4, int(sys.argv[2]) if len(sys.argv) > 2 else 3)
