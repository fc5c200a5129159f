"""Runs a helper of these tests in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def separate(module: str, *arguments: object, cwd: Path, seconds: float) -> subprocess.CompletedProcess[str]:
    """Return what `python -m module arguments…` printed."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=seconds)
