"""Training on a table that is larger than memory: its speed beside that in memory, and how soon it starts.

    python tests/benchmarks memory

The sizes come from MLPKIT_BENCH_GB, the size of the table on the disk (20), and are printed. The source and
the table that mlpkit writes take twice as much room in the temporary folder (TMPDIR).
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from turns import Entry, measure

FEATURES, CLASSES, PART = 784, 10, 8192
LIMIT, MEMORY = 2 * 10**9, 10**9  # bytes: of the process, of dataset.memory
IN_MEMORY = 10**9  # bytes of the table of the peer that has all rows in memory
PORTION = 128 * 1000  # rows of a turn: more than a window has
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
        large, small = folder / "large", folder / "small"
        _write_arrays(large, rows)
        _write_arrays(small, min(rows, int(IN_MEMORY / (4 * FEATURES))))
        print(f"\n{rows:,} rows of {FEATURES} float32 ({size:g} GB), dataset.memory={MEMORY / 1e9:g}GB")
        print(f"  read from the disk at {_disk_speed(large / 'X.npy') / 1e6:,.0f} MB/s by dd")
        with _Limited(LIMIT) as limited:
            print(f"  memory of the process: {limited.about}")
            seconds, processor = _train(large, limited)
            print(f"  written to the disk, and scored once, in {seconds:.0f} s ({processor:.0f} CPU s)")
            ratio = _compare(large, small, limited, repetitions)
            print(f"  most memory used, with the file cache: {limited.most() / 1e9:.2f} GB")
        seconds = _first_step(folder)
        print(f"\n{MOST_ROWS:,} rows of {NARROW} float32 (sparse files): first step after {seconds:.1f} s")
    return {"ratio": ratio, "first step": seconds}


def _compare(large: Path, small: Path, limited: "_Limited", repetitions: int) -> float:
    """Print the samples per second on a table on the disk and on one in memory, in turn; return the ratio."""
    steps = f"trainer.steps_per_epoch={PORTION // 128}"
    entries = {
        "from the disk": Entry("mlpkit_limited", (str(limited.folder), *_data(large), *MODEL, steps)),
        "in memory": Entry("mlpkit_training", (*_data(small, 64 * 10**9), *MODEL, steps)),
    }
    found = measure(entries, repetitions)
    for name, rates in found.rates.items():
        about = f"{min(rates):,.0f} – {max(rates):,.0f}, {found.disturbed[name]} of {len(rates)} disturbed"
        print(f"  {name:<16}{found.median(name):>12,.0f} samples/s ({about})")
    ratio = found.ratio("from the disk", "in memory")
    print(f"  ratio {ratio:.2f}, the median of {repetitions} turns")
    return ratio


def _data(folder: Path, memory: int = MEMORY) -> tuple[str, ...]:
    path, target = folder / "X.npy", folder / "y.npy"
    return "dataset=arrays", f"dataset.path={path}", f"dataset.target={target}", f"dataset.memory={memory}"


def _disk_speed(path: Path) -> float:
    """Return the bytes per second at which dd reads a file past the file cache; NaN without dd."""
    with suppress(OSError, subprocess.CalledProcessError):
        begun = time.perf_counter()
        command = ["dd", f"if={path}", f"of={os.devnull}", "bs=8M", "iflag=direct"]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        return path.stat().st_size / (time.perf_counter() - begun)
    return float("nan")


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


def _train(folder: Path, limited: "_Limited") -> tuple[float, float]:
    """Write a table and score it, without a step; return the seconds and the processor's."""
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    overrides = (*_data(folder), *MODEL, *QUIET, "trainer.epochs=0", f"run.dir={folder / 'run'}")
    command = [sys.executable, "-m", "mlpkit", "train", *overrides]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command, check=True, preexec_fn=limited.join, **quiet)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - begun, processor


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
        join(self.folder)

    def most(self) -> float:
        with suppress(OSError):
            return float((self.folder / self._names[1]).read_text())
        return float("nan")


def join(group: Path) -> None:
    """Put this process into a control group, if there is one."""
    with suppress(OSError):
        (group / "cgroup.procs").write_text(str(os.getpid()))
