"""Training on a table that is larger than memory: its speed beside that in memory, and how soon it starts.

    python tests/benchmarks memory

The sizes come from MLPKIT_BENCH_GB, the size of the table on the disk (20), and are printed. The source and
the table that mlpkit writes take twice as much room in the temporary folder (TMPDIR).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

FEATURES, CLASSES, PART = 784, 10, 8192
LIMIT, MEMORY, IN_MEMORY = (
    2 * 10**9,
    10**9,
    10**9,
)  # bytes: of the process, of dataset.memory, of the peer's table
NARROW, MOST_ROWS = 8, 10**9
MODEL = ("model=mlp", "model.hidden=[256]", "trainer.batch_size=128", "trainer.early_stopping.patience=null")
QUIET = ("run.plots=false", "run.loggers=[]", "run.progress=none")


def run_memory(repetitions: int) -> dict[str, float]:
    """Print the speeds and times; return the ratio of speeds and the seconds until the first step."""
    size = float(os.environ.get("MLPKIT_BENCH_GB", "20"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        rows = int(size * 1e9 / (4 * FEATURES))
        _write_arrays(folder / "large", rows)
        _write_arrays(folder / "small", min(rows, int(IN_MEMORY / (4 * FEATURES))))
        print(f"\n{rows:,} rows of {FEATURES} float32 ({size:g} GB), dataset.memory={MEMORY / 1e9:g}GB")
        with _Limited(LIMIT) as limited:
            print(f"  memory of the process: {limited.about}")
            begun = time.perf_counter()
            _train(folder / "large", limited, "trainer.epochs=0")
            print(f"  written to the disk, and scored once, in {time.perf_counter() - begun:.0f} s")
            from_disk = [_train(folder / "large", limited) for _ in range(min(3, repetitions))]
            print(f"  most memory used, with the file cache: {limited.most() / 1e9:.2f} GB")
        in_memory = [
            _train(folder / "small", None, f"dataset.memory={64 * 10**9}") for _ in range(min(3, repetitions))
        ]
        ratio = float(np.median(from_disk) / np.median(in_memory))
        for title, rates in (("from the disk", from_disk), ("in memory", in_memory)):
            print(
                f"  {title:<16}{np.median(rates):>12,.0f} samples/s ({', '.join(f'{r:,.0f}' for r in rates)})"
            )
        print(f"  ratio {ratio:.2f}")
        seconds = _first_step(folder)
        print(f"\n{MOST_ROWS:,} rows of {NARROW} float32 (sparse files): first step after {seconds:.1f} s")
    return {"ratio": ratio, "first step": seconds}


def _write_arrays(folder: Path, rows: int) -> None:
    """Write classes around drawn means, in the order of the classes."""
    folder.mkdir()
    random = np.random.default_rng(0)
    means = random.normal(size=(CLASSES, FEATURES)).astype(np.float32)
    noise = random.normal(size=(PART, FEATURES)).astype(np.float32)
    labels = np.sort(random.integers(CLASSES, size=rows))
    np.save(folder / "y.npy", labels)
    array = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, (rows, FEATURES))
    for start in range(0, rows, PART):
        own = labels[start : start + PART]
        array[start : start + PART] = means[own] + noise[: len(own)] * random.uniform(1, 5)
    array.flush()


def _train(folder: Path, limited: "_Limited | None", *overrides: str) -> float:
    """Train for an epoch; return samples per second."""
    run = folder / f"run-{time.monotonic_ns()}"
    own = {
        text.partition("=")[0]: text for text in (f"dataset.memory={MEMORY}", "trainer.epochs=1", *overrides)
    }
    data = ("dataset=arrays", f"dataset.path={folder / 'X.npy'}", f"dataset.target={folder / 'y.npy'}")
    command = [
        sys.executable,
        "-m",
        "mlpkit",
        "train",
        *data,
        *MODEL,
        *QUIET,
        *own.values(),
        f"run.dir={run}",
    ]
    joins = None if limited is None else limited.join
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=joins
    )
    return float(json.loads((run / "summary.json").read_text())["samples_per_second"])


def _first_step(folder: Path) -> float:
    """Return the seconds from the start of the command to the first step on a table of very many rows."""
    from mlpkit.cli.compose import Request, compose
    from mlpkit.config.config import parse
    from mlpkit.data.disk_cache import cached_table, key_of
    from mlpkit.data.disk_table import FORMAT, Header, SplitFacts
    from mlpkit.data.disk_writer import DiskWriter, block_rows
    from mlpkit.data.input_schema import InputSchema

    files = [folder / "X.npy", folder / "y.npy"]
    for file, shape in zip(files, ((MOST_ROWS, NARROW), (MOST_ROWS,)), strict=True):
        np.lib.format.open_memmap(file, "w+", np.float32, shape)  # takes no room: nothing is written
    data = (
        *("dataset=arrays", f"dataset.path={files[0]}", f"dataset.target={files[1]}"),
        *(f"dataset.memory={MEMORY}", "dataset.standardize=false"),
    )
    config = parse(compose(Request((*data, "model=mlp"))))
    ends = [0, int(0.6 * MOST_ROWS), int(0.8 * MOST_ROWS), MOST_ROWS]
    splits = {name: range(*ends[i : i + 2]) for i, name in enumerate(("train", "val", "test"))}

    def write(table: Path) -> Header:
        block = block_rows(len(splits["train"]), NARROW)
        DiskWriter(table, splits, NARROW, np.zeros((1, 1), np.float32), block, False).close()
        names = tuple(f"x{number + 1}" for number in range(NARROW))
        facts = {
            name: SplitFacts(rows.start, rows.stop, (0.0,), (0.0,), (0.0,), (float(len(rows)),))
            for name, rows in splits.items()
        }
        schema = InputSchema("regression", names, (NARROW,), ("y",))
        zeros = (0.0,) * NARROW
        return Header(FORMAT, tuple(map(str, files)), schema, block, facts, zeros, zeros, "sparse")

    cached_table(key_of(config.dataset, files, repr(None)), MEMORY, write)
    run = folder / "first"
    saved = run / "checkpoints" / "last.safetensors"
    every = ("trainer.checkpoint_every=1steps", "trainer.epochs=1", f"run.dir={run}")
    begun = time.perf_counter()
    command = [sys.executable, "-m", "mlpkit", "train", *data, "model=mlp", *QUIET, *every]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while not saved.exists() and process.poll() is None:
            time.sleep(0.05)
        seconds = time.perf_counter() - begun
        assert saved.exists(), "training ended before its first step"
        process.kill()
    return seconds


class _Limited:
    """A control group that limits memory, files in the page cache included; only root can make one."""

    def __init__(self, limit: int) -> None:
        root = Path("/sys/fs/cgroup")
        is_first = (root / "memory").is_dir()  # version 1
        self.folder = (root / "memory" if is_first else root) / f"mlpkit-{os.getpid()}"
        self._names = (
            ("memory.limit_in_bytes", "memory.max_usage_in_bytes")
            if is_first
            else ("memory.max", "memory.peak")
        )
        self._limit, self.about = limit, "not limited (no control group can be made here)"

    def __enter__(self) -> "_Limited":
        with suppress(OSError):
            self.folder.mkdir()
            (self.folder / self._names[0]).write_text(str(self._limit))
            self.about = f"limited to {self._limit / 1e9:g} GB by a control group"
        return self

    def __exit__(self, *about: object) -> None:
        with suppress(OSError):
            self.folder.rmdir()

    def join(self) -> None:
        with suppress(OSError):
            (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def most(self) -> float:
        with suppress(OSError):
            return float((self.folder / self._names[1]).read_text())
        return float("nan")
