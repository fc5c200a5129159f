"""Where to compute."""

import os
import platform
import re
from pathlib import Path

import torch

from mlpkit.errors import ConfigError
from mlpkit.system import free_cores

WORK = 1_000_000  # multiplications of a step that keep a thread busy
UNITS = 65_536  # units of a layer, of all rows and runs, that do so: torch divides fewer among no threads
MOST_THREADS = 64  # unless there are more cores; a foreign config may ask for a thousand

_auto_threads = torch.get_num_threads()  # at most
_share_is_given = False  # by a launcher, which has shared the cores out among its processes
_taken = 0.0  # cores that others use, where `auto` has taken fewer threads for that


def choose_device(wanted: str) -> str:
    """Return the device: cpu or cuda:N.

    Args:
        wanted: auto, cpu, cuda or cuda:N.

    Raises:
        ConfigError: the device is not there.
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
    """Return the line that says what was chosen."""
    if device != "cpu":
        return f"device: {device} ({torch.cuda.get_device_name(device)})"
    threads = torch.get_num_threads()
    busy = f"; others use {_taken:.1f} of {cores()} cores" if _taken else ""
    reason = "" if wanted == "cpu" else "; no CUDA device was found"
    return f"device: cpu ({threads} thread{'s' if threads > 1 else ''}{busy}{reason})"


def set_threads(wanted: int | str, rows: int, parameters: int, width: int = 1) -> None:
    """Compute with so many threads; `auto` is what a step has work for and others leave free.

    Threads that share a small matrix product mostly wait for each other, and where another program has
    taken a core they wait for long: a network of some thousand parameters was 30 times slower.

    Args:
        wanted: auto or a number.
        rows: of a batch, of all runs that are trained together.
        parameters: of the model.
        width: of its widest layer.
    """
    global _taken
    _taken = 0.0
    if wanted != "auto":
        torch.set_num_threads(min(int(wanted), max(MOST_THREADS, os.cpu_count() or 1)))
        return
    threads = threads_with_work(rows, parameters, width)
    if threads > 1 and not _share_is_given:
        free = free_cores.free()
        if free_cores.whole(free) < threads:
            threads, _taken = free_cores.whole(free), free_cores.allowed() - free
    torch.set_num_threads(threads)


def threads_with_work(rows: int, parameters: int, width: int) -> int:
    """Return how many threads a step keeps busy; see `set_threads`."""
    return max(1, min(max(rows * parameters // WORK, rows * width // UNITS), _auto_threads))


def cores() -> int:
    """Return the number of cores that this process may use."""
    return free_cores.whole(free_cores.allowed())


def limit_threads(most: int) -> None:
    """Let this process, one of several, take no more threads than that where nobody asks for a number."""
    global _auto_threads, _share_is_given
    _share_is_given = True
    _auto_threads = min(_auto_threads, most)
    torch.set_num_threads(_auto_threads)


def set_determinism(deterministic: bool) -> None:
    """Allow only operations that repeat to the last bit, or any."""
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats only with this
    if (
        deterministic != torch.are_deterministic_algorithms_enabled()
    ):  # the call itself loads torch's compiler
        torch.use_deterministic_algorithms(deterministic)


def processor() -> str:
    """Return the processor's name: another one may round otherwise."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, None) or platform.processor()  # which may start a program to find out


def describe_machine(device: str) -> dict[str, object]:
    """Return what the numbers of a run may depend on."""
    return {
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if device != "cpu" else processor(),
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
    }
