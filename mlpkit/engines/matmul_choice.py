"""Chooses the precision of matrix products: the configured one, or the fastest by measurement.

The result of a measurement is stored in the user's cache folder, and only a stored result is used: so the
same command gives the same bits on the same machine.
"""

import hashlib
import math
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import perf_counter

import torch

from mlpkit.config.run import LEVELS, MEASURED
from mlpkit.engines.matmul import EXACT, LARGE, ROUNDED, Matmul
from mlpkit.engines.operations import Operations, run_operations
from mlpkit.errors import MlpkitError
from mlpkit.system.paths import cache_folder
from mlpkit.system.plain_json import read_object, write_json
from mlpkit.system.platform import interruptions

LARGEST_ERROR = 2.0  # times the error of the highest level
CLEARLY = 0.95  # a level must take less than this share of the best time so far
PROBED = 16_000_000  # most multiplications in a measured product
WEIGHTS = 2**18  # most weights, since drawing and reading them takes time too
SAMPLED_ROWS = 16  # rows of a product that are compared with float64
TIMINGS = 4  # undisturbed measurements of each level
QUIET_SECONDS = 0.018  # least time of measuring
MAX_SECONDS = 0.5  # most time, if other processes disturb

Timing = tuple[bool, float]  # (whether another process took a core meanwhile, seconds)


def choose_matmul(
    wanted: str, shape: tuple[int, int, int], device: str, remember: bool, before: str | None = None
) -> Matmul:
    """Return the configured level; for `auto` the fastest level that is as exact as the highest.

    `fastest` is that level or bfloat16, which takes many times as long on a CPU without bfloat16 units.

    Args:
        wanted: auto, fastest, highest, high, medium or bfloat16.
        shape: (rows of a batch, in_features, out_features) of the largest product.
        device: cpu or cuda:N; on CUDA lower levels are never as exact, and TF32 is the fastest.
        remember: whether to measure if no result is stored, and store it in the user's cache folder.
        before: the level that a resumed run used before; `auto` and `fastest` keep it.
    """
    if wanted == ROUNDED:
        return Matmul(ROUNDED, LARGE, "as asked")
    if wanted not in MEASURED:
        return Matmul(wanted, 0, "as asked")
    rows, in_features, width = shape
    levels = MEASURED[wanted]
    if device != "cpu":
        tf32 = Matmul("high", 0, "TF32 is the fastest on CUDA")
        return tf32 if ROUNDED in levels else Matmul(reason="lower ones round the factors on CUDA")
    if rows * in_features * width < LARGE:
        return EXACT
    if before is not None and before in levels:
        return Matmul(before, LARGE, "as before")
    rows, in_features = min(rows, 64), min(in_features, 4096)
    probe = rows, in_features, max(16, min(width, PROBED // (rows * in_features), WEIGHTS // in_features))
    path, rounds = _cache_file(probe, levels), ROUNDED in levels
    level = _read_level(path, levels)
    if level is None and remember:
        level = _write_level(path, measure(probe, rounds), levels)
    if level is None:  # a later run would measure again, and might choose another level
        return Matmul(reason="no measurement could be kept")
    return Matmul(level, LARGE, f"the fastest{'' if rounds else ' that is as exact'}, by measurement")


# ---------------------------------------------------------------------------------- the measurement


def measure(shape: tuple[int, int, int], rounds: bool = False) -> str:
    """Return the fastest level with at most LARGEST_ERROR times the error of the highest level, or bfloat16.

    Times the main work of a step: a layer's forward product, its weight gradient, and the update of its
    weights. The update is the same at each level, but its time is not: libraries divide a product among the
    threads in different ways, and a core reads fastest what it has written itself. The error is the
    Frobenius norm of the difference from float64 products of standard normal factors, in some rows.

    Levels are timed in turn, and the shortest time counts: among those during which no other process took a
    core, if there are any.

    Args:
        shape: (rows, in_features, out_features).
        rounds: whether bfloat16 is one of the levels.
    """
    started, probe = perf_counter(), _Probe(shape)
    levels = [*_exact_levels(probe), *([ROUNDED] if rounds else [])]
    timings: dict[str, list[Timing]] = {level: [] for level in levels}
    while len(timings) > 1:
        for level, of_level in timings.items():
            of_level.append(probe.time(level))
        passed = perf_counter() - started
        quiet = (sum(not disturbed for disturbed, _ in of_level) for of_level in timings.values())
        if passed > MAX_SECONDS or (passed > QUIET_SECONDS and min(quiet) >= TIMINGS):
            break
    return fastest(timings) if len(timings) > 1 else LEVELS[0]


def fastest(timings: Mapping[str, Sequence[Timing]]) -> str:
    """Return the level with the shortest time; a later level must beat the earlier ones clearly."""
    times = {level: min(of_level)[1] for level, of_level in timings.items()}
    best = next(iter(times))
    for level, seconds in times.items():
        if seconds < CLEARLY * times[best]:
            best = level
    return best


def _exact_levels(probe: "_Probe") -> list[str]:
    """Return the highest level, and lower ones that are as exact and give other bits (another library)."""
    levels, results, bound = [], list[torch.Tensor](), math.inf
    for level in LEVELS:
        probe.time(level)
        products = probe.sampled()
        if level == LEVELS[0]:
            bound = LARGEST_ERROR * probe.error(products)
        elif probe.error(products) > bound or any(torch.equal(products, others) for others in results):
            continue
        levels.append(level)
        results.append(products)
    return levels


class _Probe:
    """A layer's work in a step, on random numbers."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        rows, in_features, width = shape
        random = torch.Generator().manual_seed(0)
        self.inputs, self.weights, self.gradients = (
            torch.randn(*size, generator=random)
            for size in ((rows, in_features), (width, in_features), (width, rows))
        )
        self.products, self.gradient = torch.empty(width, rows), torch.empty(width, in_features)
        inputs = self.inputs.double()
        products = self.weights[:SAMPLED_ROWS].double() @ inputs.T
        self.exact = torch.cat((products, self.gradients[:SAMPLED_ROWS].double() @ inputs), dim=1)
        self._operations = {level: self._of(Matmul(level)) for level in (*LEVELS, ROUNDED)}

    def _of(self, matmul: Matmul) -> Operations:
        """Return the operations of a level."""
        return [
            *matmul.product(self.weights, self.inputs.T, self.products),
            *matmul.product(self.gradients, self.inputs, self.gradient),
            partial(self.weights.add_, self.gradient, alpha=0),
        ]

    def time(self, level: str) -> Timing:
        """Compute at a level; return whether another process took a core meanwhile, and the seconds."""
        began, before = perf_counter(), interruptions()
        run_operations(self._operations[level])
        seconds = perf_counter() - began
        return interruptions() > before, seconds

    def sampled(self) -> torch.Tensor:
        """Return some rows of the last products."""
        return torch.cat((self.products[:SAMPLED_ROWS], self.gradient[:SAMPLED_ROWS]), dim=1)

    def error(self, sampled: torch.Tensor) -> float:
        """Return the distance of `sampled()` from the float64 products."""
        return float((sampled.double() - self.exact).norm())


# ---------------------------------------------------------------------------------------- the cache


def _cache_file(probe: tuple[int, int, int], levels: Sequence[str]) -> Path:
    """Return the file that stores which of some levels is the fastest for this shape and machine."""
    from mlpkit.system.device import processor

    key = f"{processor()}, torch {torch.__version__}, {torch.get_num_threads()} threads, heart of {probe}"
    key += ", or bfloat16" if ROUNDED in levels else ""
    name = hashlib.blake2b(key.encode(), digest_size=8).hexdigest()
    return cache_folder() / "matmul" / f"{name}.json"


def _write_level(path: Path, level: str, levels: Sequence[str]) -> str | None:
    """Store a level; return the stored one, which is another run's if that was first."""
    temporary = path.with_suffix(f".{secrets.token_hex(4)}")  # machines may share the folder
    with suppress(MlpkitError, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and _read_level(path, levels) is None:
            path.unlink()  # damaged
        write_json(temporary, {"level": level})
        try:
            os.link(temporary, path)  # unlike a rename, a link never replaces an existing file
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            temporary.replace(path)
        temporary.unlink(missing_ok=True)
    return _read_level(path, levels)


def _read_level(path: Path, levels: Sequence[str]) -> str | None:
    try:
        level = read_object(path).get("level")
    except (MlpkitError, OSError):
        return None
    return level if level in levels else None
