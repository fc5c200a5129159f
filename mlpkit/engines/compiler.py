"""Compiles whole steps to libraries, which lie in the user's cache folder and serve every later run.

Torch's compiler takes seconds to be imported and many more to work; so it works in a process of its own, and
what it has made is loaded without it. A library is of one `CompilePlan`, of any number of runs.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from mlpkit.engines.compile_plan import SETTINGS, CompilePlan
from mlpkit.engines.whole_step import WholeStep
from mlpkit.errors import MlpkitError, WriteError
from mlpkit.system.plain_json import read_object, write_json

CompiledStep = Callable[[list[Tensor]], list[Tensor]]

RUNS = 64  # of the example, which torch's compiler takes for the usual number
UNLIMITED = 10**6  # operations that may be computed in one loop: all of them
OPTIONS = {
    "realize_reads_threshold": UNLIMITED,
    "realize_acc_reads_threshold": UNLIMITED,
    "realize_opcount_threshold": UNLIMITED,
    "max_fusion_size": UNLIMITED,
    "cpp.max_horizontal_fusion_size": UNLIMITED,
    "aot_inductor.precompile_headers": False,  # which takes longer than it gains for one program
}
DEFAULT_SECONDS = 20.0  # seconds of compiling, where none has been measured


class CompileError(MlpkitError):
    """A step could not be compiled, or what was compiled cannot be loaded."""


@cache
def load(plan: CompilePlan) -> CompiledStep:
    """Return the program of a plan, compiled now where that has not been done.

    Raises:
        CompileError: there is no compiler, or it has failed.
    """
    path = _folder() / f"{_cache_key(plan)}.pt2"
    if path.exists():
        try:
            return _loaded(path)
        except RuntimeError:  # a damaged one
            path.unlink(missing_ok=True)
    _compile(plan, path)
    try:
        return _loaded(path)
    except RuntimeError as error:
        raise CompileError(f"{path}: the compiled step cannot be loaded ({last_line(str(error))})") from None


def compiler() -> str | None:
    """Return the C++ compiler that torch would take, or None."""
    return shutil.which(os.environ.get("CXX", "g++"))


def seconds() -> float:
    """Return how long compiling takes: as it was measured the first time on this machine, else a guess."""
    try:
        found = read_object(_folder() / "seconds.json").get("seconds")
    except (MlpkitError, OSError):
        return DEFAULT_SECONDS
    return float(found) if isinstance(found, int | float) else DEFAULT_SECONDS


def last_line(text: str) -> str:
    """Return the last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason given"


def _loaded(path: Path) -> CompiledStep:
    loader = torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 1, -1)
    step: CompiledStep = loader.boxed_run
    return step


def _compile(plan: CompilePlan, path: Path) -> None:
    """Let another process compile, and put what it has made in its place."""
    if compiler() is None:
        raise CompileError("there is no C++ compiler; install g++ or set CXX to one")
    started, ours = perf_counter(), path.with_suffix(f".{os.getpid()}.pt2")
    scratch = path.parent / f"torch.{os.getpid()}"  # another process may compile at this moment
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CompileError(f"{path.parent}: cannot be made ({error.strerror})") from None
    package = str(Path(__file__).parents[2])
    places = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(places),
        "TORCHINDUCTOR_CACHE_DIR": str(scratch),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-P", "-m", "mlpkit.engines.compiler", _to_json(plan), str(ours)]
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode or not ours.exists():
            raise CompileError(f"the step could not be compiled: {last_line(done.stderr)}")
        ours.replace(path)
    finally:
        ours.unlink(missing_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)  # of no use once there is a library
    _save_seconds(perf_counter() - started)


def _save_seconds(taken: float) -> None:
    """Keep the seconds of the first time, so that the same command decides alike from then on."""
    path = _folder() / "seconds.json"
    if not path.exists():
        with suppress(WriteError):
            write_json(path, {"seconds": round(taken, 1)})


def _folder() -> Path:
    """Return where libraries lie, under XDG_CACHE_HOME or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111  # may fail
    return Path(home) / "mlpkit" / "compiled"


def _cache_key(plan: CompilePlan) -> str:
    """Return what tells apart the libraries of plans, machines, versions of torch and of the step."""
    from mlpkit.system.device import processor

    about = (
        f"{_to_json(plan)} {processor()} {torch.backends.cpu.get_cpu_capability()} torch {torch.__version__}"
    )
    files = (Path(__file__).with_name(name) for name in ("whole_step.py", "compile_plan.py", "compiler.py"))
    sources = b"".join(path.read_bytes() for path in files)
    return hashlib.blake2b(about.encode() + sources, digest_size=10).hexdigest()


def _to_json(plan: CompilePlan) -> str:
    return json.dumps(dataclasses.asdict(plan))


# ------------------------------------------------------------------------------ in the other process


def write_library(plan: CompilePlan, path: str) -> None:
    """Compile a plan with torch's compiler; its number of runs is left open."""
    from torch._inductor import aoti_compile_and_package, config

    config.cpp.vec_isa_ok = True  # instead of compiling a program for each level of the processor to ask it
    runs: Any = torch.export.Dim("runs", min=2, max=UNLIMITED)
    arguments, dynamic = example(plan, runs)
    with torch.no_grad():
        exported = torch.export.export(WholeStep(plan), arguments, dynamic_shapes=dynamic, strict=False)
    options = {**OPTIONS, "cpp.threads": plan.threads}
    aoti_compile_and_package(exported, package_path=path, inductor_configs=options)


def example(plan: CompilePlan, runs: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return arguments of `WholeStep.forward`, and which of their axes is that of the runs."""
    dtype = getattr(torch, plan.dtype)

    def ones(*shape: int) -> Tensor:
        return torch.ones(shape, dtype=dtype)

    values = []
    for below, width in zip(plan.widths, plan.widths[1:], strict=False):
        values += [ones(RUNS, width, below), *([ones(RUNS, width)] if plan.bias else [])]
    slots = 2 if plan.optimizer != "sgd" else int(plan.momentum)
    averages = [[value.clone() for value in values] for _ in range(slots)]
    first, ends = 1 if plan.shared else RUNS, (plan.widths[0], plan.widths[-1], plan.widths[-1])
    splits = [[ones(first, width, rows) for width in ends] for rows in plan.rows]
    unscaling = [ones(RUNS, plan.widths[-1], 1) for _ in range(2)] if plan.unscales else []
    arguments = (values, averages, ones(len(SETTINGS), RUNS), *splits, unscaling)
    axis = {0: runs}
    of_values = [axis for _ in values]
    of_split = [None if plan.shared else axis for _ in ends]
    dynamic = (of_values, [of_values] * slots, {1: runs}, of_split, of_split, [axis for _ in unscaling])
    return arguments, dynamic


def main() -> None:
    """Compile what the command line says."""
    wanted: dict[str, Any] = json.loads(sys.argv[1])
    lists = {name: tuple(value) for name, value in wanted.items() if isinstance(value, list)}
    plan = CompilePlan(**(wanted | lists))
    write_library(plan, sys.argv[2])


if __name__ == "__main__":
    main()
