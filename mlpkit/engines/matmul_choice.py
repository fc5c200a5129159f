"""Which matrix product a run computes with: as asked, or the fastest that is as exact, by measurement.

What is measured is remembered, and what cannot be remembered is not used: the same command gives the same
bits on the same machine.
"""

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter

import torch

from mlpkit.config.run import LEVELS
from mlpkit.engines.matmul import EXACT, LARGE, ROUNDED, Matmul
from mlpkit.errors import MlpkitError
from mlpkit.system.paths import cache_folder
from mlpkit.system.plain_json import read_object, write_json
from mlpkit.system.platform import interruptions

LARGEST_ERROR = 2.0  # times that of the highest level
CLEARLY = 0.95  # of the time: what is hardly faster is not selected
PROBED = 16_000_000  # multiplications at most
WEIGHTS = 2**18  # at most, since they are made and read as well
SAMPLED_ROWS = 16  # rows of a product that are compared with float64
TIMINGS = 4  # of each level that nothing disturbed
QUIET_SECONDS = 0.018  # seconds of measuring, where nothing does
MAX_SECONDS = 0.5  # seconds, where something does

Timing = tuple[bool, float]  # whether it was disturbed, and its seconds


def choose_matmul(
    wanted: str, shape: tuple[int, int, int], device: str, remember: bool, before: str | None = None
) -> Matmul:
    """Return what the config asks for; `auto` becomes the fastest level that is as exact as the highest.

    Args:
        wanted: auto, highest, high, medium or bfloat16.
        shape: (rows, in_features, out_features) of the largest product; rows are those of a batch.
        device: cpu or cuda:N; a lower level of CUDA is never as exact.
        remember: measure where nothing is remembered, and keep it in the user's cache folder.
        before: the level that the run has had, which `auto` keeps.
    """
    if wanted == ROUNDED:  # where it is worth it
        return Matmul(ROUNDED, LARGE, "as asked")
    if wanted != "auto":
        return Matmul(wanted, 0, "as asked")
    rows, in_features, width = shape
    if device != "cpu":
        return Matmul(reason="lower ones round the factors on CUDA")
    if rows * in_features * width < LARGE:
        return EXACT
    if before is not None:
        return Matmul(before, LARGE, "as before")
    rows, in_features = min(rows, 64), min(in_features, 4096)
    probe = rows, in_features, max(16, min(width, PROBED // (rows * in_features), WEIGHTS // in_features))
    path = _cache_file(probe)
    level = _read_level(path)
    if level is None and remember:
        level = _write_level(path, measure(probe))
    if level is None:  # measured by the next run as well, it might be another one
        return Matmul(reason="no measurement could be kept")
    return Matmul(level, LARGE, "the fastest that is as exact, by measurement")


# ---------------------------------------------------------------------------------- the measurement


def measure(shape: tuple[int, int, int]) -> str:
    """Return the fastest level whose error is not beyond LARGEST_ERROR times the highest level's.

    What is timed is the heart of a step: the layer's product on the way up, its gradient, and a change of
    the weights by it. The change is the same at each level, but not its time: libraries share a product
    out among the threads in different ways, and a core reads best what it has written itself. The error is
    the Frobenius norm of the difference from float64 products of standard normal factors, in some rows.

    Levels take timings, and the shortest counts; where there are any, one of those in which no other process
    took a core from this one.

    Args:
        shape: (rows, in_features, out_features).
    """
    started, probe = perf_counter(), _Probe(shape)
    timings: dict[str, list[Timing]] = {level: [] for level in _exact_levels(probe)}
    while len(timings) > 1 and (passed := perf_counter() - started) < MAX_SECONDS:
        quiet = (sum(not disturbed for disturbed, _ in of_level) for of_level in timings.values())
        if passed > QUIET_SECONDS and min(quiet) >= TIMINGS:
            break
        for level, of_level in timings.items():
            of_level.append(probe.time(level))
    return fastest(timings) if len(timings) > 1 else LEVELS[0]


def fastest(timings: Mapping[str, Sequence[Timing]]) -> str:
    """Return the level whose shortest turn is clearly shorter than those of all before it."""
    times = {level: min(of_level)[1] for level, of_level in timings.items()}
    best = next(iter(times))
    for level, seconds in times.items():
        if seconds < CLEARLY * times[best]:
            best = level
    return best


def _exact_levels(probe: "_Probe") -> list[str]:
    """Return the highest level, and those that are as exact and not the same library again."""
    levels, known, bound = [], list[torch.Tensor](), math.inf
    for level in LEVELS:
        probe.time(level)
        products = probe.sampled()
        if level == LEVELS[0]:
            bound = LARGEST_ERROR * probe.error(products)
        elif probe.error(products) > bound or any(torch.equal(products, others) for others in known):
            continue
        levels.append(level)
        known.append(products)
    return levels


class _Probe:
    """A layer's part in a step, for random numbers."""

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

    def time(self, level: str) -> Timing:
        """Compute; return whether another process took a core meanwhile, and the seconds."""
        with Matmul(level).for_all_products():
            began, before = perf_counter(), interruptions()
            torch.mm(self.weights, self.inputs.T, out=self.products)
            torch.mm(self.gradients, self.inputs, out=self.gradient)
            self.weights.add_(self.gradient, alpha=0)
            seconds = perf_counter() - began
        return interruptions() > before, seconds

    def sampled(self) -> torch.Tensor:
        """Return some rows of what was computed last."""
        return torch.cat((self.products[:SAMPLED_ROWS], self.gradient[:SAMPLED_ROWS]), dim=1)

    def error(self, sampled: torch.Tensor) -> float:
        """Return their distance from the float64 products."""
        return float((sampled.double() - self.exact).norm())


# --------------------------------------------------------------------------------------- the memory


def _cache_file(probe: tuple[int, int, int]) -> Path:
    """Return the file that keeps a measurement."""
    from mlpkit.system.device import processor

    about = f"{processor()}, torch {torch.__version__}, {torch.get_num_threads()} threads, heart of {probe}"
    name = hashlib.blake2b(about.encode(), digest_size=8).hexdigest()
    return cache_folder() / "matmul" / f"{name}.json"


def _write_level(path: Path, level: str) -> str | None:
    """Write a level down; return the one that is kept, which is another run's where that was first."""
    ours = path.with_suffix(f".{os.getpid()}")
    with suppress(MlpkitError, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and _read_level(path) is None:
            path.unlink()  # a damaged one
        write_json(ours, {"level": level})
        try:
            os.link(ours, path)  # unlike a rename, it does not take the place of one that is there
        except FileExistsError:
            pass
        except OSError:  # a file system that knows no links
            ours.replace(path)
        ours.unlink(missing_ok=True)
    return _read_level(path)


def _read_level(path: Path) -> str | None:
    try:
        level = read_object(path).get("level")
    except (MlpkitError, OSError):
        return None
    return level if level in LEVELS else None
