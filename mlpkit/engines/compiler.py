"""Compiles whole steps to libraries in the user's cache folder, which later runs reuse.

Torch's compiler takes seconds to import and many more to run. So it runs in a subprocess, and libraries are
loaded without it. A library serves one `CompilePlan`, with any number of runs.
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
from mlpkit.system.atomic_write import temporary_folder
from mlpkit.system.plain_json import read_object, write_json

CompiledStep = Callable[[list[Tensor]], list[Tensor]]

RUNS = 64  # in the example arguments; torch's compiler optimises for this number
UNLIMITED = 10**6  # operations that may be fused into one loop
OPTIONS = {
    "realize_reads_threshold": UNLIMITED,
    "realize_acc_reads_threshold": UNLIMITED,
    "realize_opcount_threshold": UNLIMITED,
    "max_fusion_size": UNLIMITED,
    "cpp.max_horizontal_fusion_size": UNLIMITED,
    "aot_inductor.precompile_headers": False,  # takes longer than it saves for one library
}
DEFAULT_SECONDS = 20.0  # assumed for compiling until it has been measured


class CompileError(MlpkitError):
    """A step cannot be compiled, or its library cannot be loaded."""


@cache
def load(plan: CompilePlan) -> CompiledStep:
    """Return the compiled step of a plan; compile it if the cache has none.

    Raises:
        CompileError: there is no C++ compiler, compiling failed, or the library cannot be loaded.
    """
    path = _folder() / f"{_cache_key(plan)}.pt2"
    if path.exists():
        try:
            return _loaded(path)
        except RuntimeError:  # damaged
            path.unlink(missing_ok=True)
    _compile(plan, path)
    try:
        return _loaded(path)
    except RuntimeError as error:
        raise CompileError(f"{path}: the compiled step cannot be loaded ({last_line(str(error))})") from None


def compiler() -> str | None:
    """Return the path of the C++ compiler that torch uses, or None if there is none."""
    return shutil.which(os.environ.get("CXX", "g++"))


def seconds() -> float:
    """Return the time of compiling: as first measured on this machine, else DEFAULT_SECONDS."""
    try:
        found = read_object(_folder() / "seconds.json").get("seconds")
    except (MlpkitError, OSError):
        return DEFAULT_SECONDS
    return float(found) if isinstance(found, int | float) else DEFAULT_SECONDS


def last_line(text: str) -> str:
    """Return the last line that is not empty, cut to 300 characters."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason given"


def _loaded(path: Path) -> CompiledStep:
    loader = torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 1, -1)
    step: CompiledStep = loader.boxed_run
    return step


def _compile(plan: CompilePlan, path: Path) -> None:
    """Compile a plan in a subprocess and move the library to `path`."""
    if compiler() is None:
        raise CompileError("there is no C++ compiler; install g++ or set CXX to one")
    started = perf_counter()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(path.parent) as scratch:  # others may be compiling, also on other machines
            _compile_in(scratch, plan).replace(path)
    except OSError as error:
        raise CompileError(f"{path.parent}: cannot be written ({error.strerror})") from None
    _save_seconds(perf_counter() - started)


def _compile_in(scratch: Path, plan: CompilePlan) -> Path:
    """Compile a plan in a subprocess whose files are in a folder; return the library."""
    library, package = scratch / "step.pt2", str(Path(__file__).parents[2])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "TORCHINDUCTOR_CACHE_DIR": str(scratch / "torch"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-P", "-m", "mlpkit.engines.compiler", _to_json(plan), str(library)]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode or not library.exists():
        raise CompileError(f"the step could not be compiled: {last_line(done.stderr)}")
    return library


def _save_seconds(taken: float) -> None:
    """Store the first measured time; later ones are ignored, so that `auto` always decides the same."""
    path = _folder() / "seconds.json"
    if not path.exists():
        with suppress(WriteError):
            write_json(path, {"seconds": round(taken, 1)})


def _folder() -> Path:
    """Return the folder of the libraries, under XDG_CACHE_HOME or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111  # may fail
    return Path(home) / "mlpkit" / "compiled"


def _cache_key(plan: CompilePlan) -> str:
    """Return a hash of the plan, the processor, torch's version and the source of the step."""
    from mlpkit.system.device import processor

    key = (
        f"{_to_json(plan)} {processor()} {torch.backends.cpu.get_cpu_capability()} torch {torch.__version__}"
    )
    files = (Path(__file__).with_name(name) for name in ("whole_step.py", "compile_plan.py", "compiler.py"))
    sources = b"".join(path.read_bytes() for path in files)
    return hashlib.blake2b(key.encode() + sources, digest_size=10).hexdigest()


def _to_json(plan: CompilePlan) -> str:
    return json.dumps(dataclasses.asdict(plan))


# ---------------------------------------------------------------------------------- in the subprocess


def write_library(plan: CompilePlan, path: str) -> None:
    """Compile a plan with torch's compiler, for any number of runs."""
    from torch._inductor import aoti_compile_and_package, config

    config.cpp.vec_isa_ok = True  # skips compiling test programs for each instruction set
    runs: Any = torch.export.Dim("runs", min=2, max=UNLIMITED)
    arguments, dynamic = example(plan, runs)
    with torch.no_grad():
        exported = torch.export.export(WholeStep(plan), arguments, dynamic_shapes=dynamic, strict=False)
    options = {**OPTIONS, "cpp.threads": plan.threads}
    aoti_compile_and_package(exported, package_path=path, inductor_configs=options)


def example(plan: CompilePlan, runs: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return example arguments of `WholeStep.forward`, and the axis of the runs in each."""
    dtype = getattr(torch, plan.dtype)

    def ones(*shape: int) -> Tensor:
        return torch.ones(shape, dtype=dtype)

    values = []
    for in_features, width in zip(plan.widths, plan.widths[1:], strict=False):
        values += [ones(RUNS, width, in_features), *([ones(RUNS, width)] if plan.bias else [])]
    slots = 2 if plan.optimizer != "sgd" else int(plan.momentum)
    averages = [[value.clone() for value in values] for _ in range(slots)]
    ends = [plan.widths[0], plan.widths[-1], plan.widths[-1], *([1] if plan.weighted else [])]
    first = 1 if plan.shared else RUNS
    splits = [[ones(first, width, rows) for width in ends] for rows in plan.rows]
    unscaling = [ones(RUNS, plan.widths[-1], 1) for _ in range(2)] if plan.unscales else []
    means = [value.clone() for value in values] if plan.averages else []
    arguments = (values, averages, means, ones(len(SETTINGS), RUNS), *splits, unscaling)
    axis = {0: runs}
    value_axes = [axis for _ in values]
    split_axes = [None if plan.shared else axis for _ in ends]
    states = (value_axes, [value_axes] * slots, [axis for _ in means])
    return arguments, (*states, {1: runs}, split_axes, split_axes, [axis for _ in unscaling])


def main() -> None:
    """Compile the plan in argv[1] (JSON) to the file argv[2]."""
    fields: dict[str, Any] = json.loads(sys.argv[1])
    tuples = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    plan = CompilePlan(**(fields | tuples))
    write_library(plan, sys.argv[2])


if __name__ == "__main__":
    main()
