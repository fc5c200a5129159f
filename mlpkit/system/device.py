"""Choice of the device and of the number of threads."""

import os
import platform
import re
from pathlib import Path

import torch

from mlpkit.errors import ConfigError
from mlpkit.system import free_cores

WORK = 1_000_000  # multiplications in a step that keep one thread busy
UNITS = 65_536  # activations of a layer, over all rows and runs, per thread: torch does not split fewer
CUBLAS = "CUBLAS_WORKSPACE_CONFIG"  # an environment variable
MOST_THREADS = 64  # unless there are more cores; limits the number in a foreign config

_auto_threads = torch.get_num_threads()  # upper limit of `auto`
_limited = False  # whether a launcher has divided the cores among its processes
_busy = 0.0  # cores used by other programs, if `auto` has chosen fewer threads because of them


def choose_device(wanted: str) -> str:
    """Return the device: cpu or cuda:N.

    Args:
        wanted: auto, cpu, cuda or cuda:N.

    Raises:
        ConfigError: this machine does not have the device.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", wanted):
        raise ConfigError(f"device={wanted}: must be auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cpu" or (wanted == "auto" and count == 0):
        return "cpu"
    if count == 0:
        raise ConfigError(f"device={wanted}: this machine has no CUDA device; set device=cpu or device=auto")
    number = int(wanted.partition(":")[2] or 0)
    if number >= count:
        there = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise ConfigError(f"device={wanted}: this machine has {count} CUDA device(s), {there}")
    return f"cuda:{number}"


def describe_device(device: str, wanted: str) -> str:
    """Return the line that tells the user the chosen device."""
    if device != "cpu":
        return f"device: {device} ({torch.cuda.get_device_name(device)})"
    threads = torch.get_num_threads()
    busy = f"; others use {_busy:.1f} of {cores()} cores" if _busy else ""
    if threads > cores():
        busy = f"; they share {cores()} core{'s' if cores() > 1 else ''}, fewer are faster"
    reason = "" if wanted == "cpu" else "; no CUDA device was found"
    return f"device: cpu ({threads} thread{'s' if threads > 1 else ''}{busy}{reason})"


def set_threads(wanted: int | str, rows: int, parameters: int, width: int = 1, sharing: int = 1) -> None:
    """Set the number of torch's threads; `auto`: as many as a step keeps busy, at most the free cores.

    Threads that share a small matrix product mostly wait for each other. If another program uses one of the
    cores they wait long: a network of a few thousand parameters was 30 times slower.

    Args:
        wanted: auto or a number.
        rows: rows in a batch, over all runs that are trained together.
        parameters: number of parameters of the model.
        width: width of its widest layer.
        sharing: number of processes on this machine that train the same run.
    """
    global _busy
    _busy = 0.0
    if wanted != "auto":
        torch.set_num_threads(min(int(wanted), max(MOST_THREADS, os.cpu_count() or 1)))
        return
    threads = threads_with_work(rows, parameters, width)
    if threads > 1 and not _limited and sharing == 1:
        free = free_cores.free()
        if free_cores.whole(free) < threads:
            threads, _busy = free_cores.whole(free), free_cores.allowed() - free
    torch.set_num_threads(min(threads, max(1, cores() // sharing)) if sharing > 1 else threads)


def threads_with_work(rows: int, parameters: int, width: int) -> int:
    """Return how many threads a step keeps busy; see `set_threads`."""
    return max(1, min(max(rows * parameters // WORK, rows * width // UNITS), _auto_threads))


def cores() -> int:
    """Return the number of cores that this process may use."""
    return free_cores.whole(free_cores.allowed())


def limit_threads(most: int) -> None:
    """Limit `auto` to this many threads, for a process that shares the machine with others of a sweep."""
    global _auto_threads, _limited
    _limited = True
    _auto_threads = min(_auto_threads, most)
    torch.set_num_threads(_auto_threads)


def set_determinism(deterministic: bool) -> None:
    """Allow only deterministic operations, or all."""
    if deterministic:
        os.environ.setdefault(CUBLAS, ":4096:8")  # makes cuBLAS deterministic
    if deterministic != torch.are_deterministic_algorithms_enabled():  # the call loads torch's compiler
        torch.use_deterministic_algorithms(deterministic)


def processor() -> str:
    """Return the processor's name; results may differ in rounding between processors."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, None) or platform.processor()  # last, since it may start another program


def describe_machine(device: str) -> dict[str, object]:
    """Return the device, processor and versions, on which a run's results may depend."""
    return {
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if device != "cpu" else processor(),
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
    }
