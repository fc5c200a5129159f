"""Where to compute."""

import os
import platform
import re

import torch

from mlpkit.errors import ConfigError


def choose_device(wanted: str) -> tuple[str, str]:
    """Return the device and a line that says what it is.

    Args:
        wanted: auto, cpu, cuda or cuda:N.

    Raises:
        ConfigError: the device is not there.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", wanted):
        raise ConfigError(f"device={wanted}: must be auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cpu" or (wanted == "auto" and count == 0):
        reason = "" if wanted == "cpu" else "; no CUDA device was found"
        return "cpu", f"device: cpu ({torch.get_num_threads()} threads{reason})"
    if count == 0:
        raise ConfigError(f"device={wanted}: this machine has no CUDA device; set device=cpu or device=auto")
    number = int(wanted.partition(":")[2] or 0)
    if number >= count:
        there = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise ConfigError(f"device={wanted}: this machine has {count} CUDA device(s), {there}")
    return f"cuda:{number}", f"device: cuda:{number} ({torch.cuda.get_device_name(number)})"


def set_determinism(deterministic: bool) -> None:
    """Allow only operations that repeat to the last bit, or any."""
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats only with this
    if (
        deterministic != torch.are_deterministic_algorithms_enabled()
    ):  # the call itself loads torch's compiler
        torch.use_deterministic_algorithms(deterministic)


def describe_machine(device: str) -> dict[str, object]:
    """Return what the numbers of a run may depend on."""
    return {
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if device != "cpu" else platform.processor(),
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
    }
