"""Which of torch's float32 matrix products is used.

`torch.set_float32_matmul_precision` names three levels. On most CPUs without bfloat16 units the lower ones
select another library for the product, with nearly the same rounding error and up to twice the speed; on
other CPUs, and on CUDA devices, they round the factors to fewer bits. So `auto` measures before it takes
one, and remembers: the same command gives the same bits on the same machine. A fourth level, bfloat16, is
our own: it rounds large products wherever it is asked for.
"""

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from mlpkit.choices import LEVELS
from mlpkit.errors import MlpkitError
from mlpkit.plain_json import read_object, write_json
from mlpkit.program import Program

ROUNDED = "bfloat16"
LARGE = 2_000_000  # multiplications; what is faster for large ones takes longer to begin
LARGEST_ERROR = 2.0  # times that of the highest level
CLEARLY = 0.95  # of the time: what is hardly faster is not taken
PROBED = 16_000_000  # multiplications at most
WEIGHTS = 2**18  # at most, since they are made and read as well
PATIENCE = 0.008  # seconds of timing; with what has to be made for it, less than 0.02
TURNS = 4  # of each level, however long they take


@dataclass(frozen=True)
class Matmul:
    """What products are computed with.

    Attributes:
        level: highest, high, medium or bfloat16.
        smallest: multiplications of the smallest product that is computed at that level; those below are
            at the highest.
        reason: why this one, for the log; empty where there was no choice.
    """

    level: str = "highest"
    smallest: int = 0
    reason: str = ""

    def product(
        self, left: Tensor, right: Tensor, out: Tensor, base: Tensor | None = None, networks: int = 1
    ) -> Program:
        """Return what writes base + left @ right into `out`; all may have an axis of networks in front.

        Args:
            left: (K, rows, inner).
            right: (K, inner, columns).
            out: (K, rows, columns).
            base: of that shape, or one that is spread to it; it may be `out` itself.
            networks: whose layers lie one below the other in these matrices: a network's products are
                computed alike, whatever lies beside it.
        """
        bare, plain = (torch.mm, torch.addmm) if out.dim() == 2 else (torch.bmm, torch.baddbmm)
        with_base: Program = [] if base is None else [partial(plain, base, left, right, out=out)]
        of_one_network = left.shape[-2] * left.shape[-1] * right.shape[-1] // networks
        if self.level == "highest" or of_one_network < self.smallest:
            return with_base or [partial(bare, left, right, out=out)]
        if self.level == ROUNDED:
            return rounded(bare, left, right, out, base)
        set_level = torch.set_float32_matmul_precision
        into_itself = base is out
        program: Program = [partial(set_level, self.level)]
        program += with_base if into_itself else [partial(bare, left, right, out=out)]
        program.append(partial(set_level, "highest"))
        # The other library adds a base more slowly than a second operation does.
        return program if base is None or into_itself else [*program, partial(out.add_, base)]

    @property
    def of_scores(self) -> "Matmul":
        """How products are computed where nothing is trained: never of rounded factors."""
        return EXACT if self.level == ROUNDED else self

    @contextmanager
    def everywhere(self) -> Iterator[None]:
        """Compute all products as those of scores while this is open, small ones too: they are few there."""
        torch.set_float32_matmul_precision(self.of_scores.level)
        try:
            yield
        finally:
            torch.set_float32_matmul_precision("highest")


EXACT = Matmul()


def rounded(
    multiply: Callable[..., Tensor], left: Tensor, right: Tensor, out: Tensor, base: Tensor | None
) -> Program:
    """Return what writes base + left @ right, with bfloat16 factors and products, into a float32 `out`."""
    factors = [torch.empty_like(factor, dtype=torch.bfloat16) for factor in (left, right)]
    products = torch.empty_like(out, dtype=torch.bfloat16)
    program: Program = [
        *(partial(ours.copy_, theirs) for ours, theirs in zip(factors, (left, right), strict=True)),
        partial(multiply, *factors, out=products),
    ]
    if base is out:
        return [*program, partial(out.add_, products)]
    program.append(partial(out.copy_, products))
    return program if base is None else [*program, partial(out.add_, base)]


def choose_matmul(
    wanted: str, shape: tuple[int, int, int], device: str, remember: bool, before: str | None = None
) -> Matmul:
    """Return what the config asks for; `auto` becomes the fastest level that is as exact as the highest.

    Args:
        wanted: auto, highest, high, medium or bfloat16.
        shape: (rows, width below, width) of the largest product; rows are those of a batch.
        device: cpu or cuda:N; a lower level of CUDA is never as exact.
        remember: keep what was measured in the user's cache folder.
        before: the level that the run has had, which `auto` keeps.
    """
    if wanted == ROUNDED:  # where it is worth it
        return Matmul(ROUNDED, LARGE, "as asked")
    if wanted != "auto":
        return Matmul(wanted, 0, "as asked")
    rows, below, width = shape
    if device != "cpu":
        return Matmul(reason="lower ones round the factors on CUDA")
    if rows * below * width < LARGE:
        return EXACT
    if before is not None:
        return Matmul(before, LARGE, "as before")
    rows, below = min(rows, 64), min(below, 4096)
    probe = rows, below, max(16, min(width, PROBED // (rows * below), WEIGHTS // below))
    path = _memory(probe)
    level, reason = _remembered(path), "the fastest that is as exact, by measurement"
    if level is None:
        level = measure(probe)
        if remember:
            with suppress(MlpkitError, OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                if _remembered(path) is None:  # another run may have been faster
                    write_json(path, {"level": level})
            level = _remembered(path) or level
            reason += "" if path.is_file() else " that could not be kept"
    return Matmul(level, LARGE, reason)


def measure(shape: tuple[int, int, int]) -> str:
    """Return the fastest level whose error is not beyond LARGEST_ERROR times the highest level's.

    What is timed is the heart of a step: the layer's product on the way up, its gradient, and a change of
    the weights by it. The change is the same at each level, but not its time: libraries share a product
    out among the threads in different ways, and a core reads best what it has written itself. The error is
    the Frobenius norm of the difference from float64 products of standard normal factors. Levels take
    turns and the shortest time counts, so that it hardly matters what else the machine does meanwhile.

    Args:
        shape: (rows, width below, width).
    """
    rows, below, width = shape
    random = torch.Generator().manual_seed(0)
    inputs, weights, delta = (
        torch.randn(*size, generator=random) for size in ((rows, below), (width, below), (width, rows))
    )
    exact = weights.double() @ inputs.double().T, delta.double() @ inputs.double()
    sums, gradient = torch.empty(width, rows), torch.empty(width, below)

    def turn(level: str) -> float:
        with Matmul(level).everywhere():
            started = perf_counter()
            torch.mm(weights, inputs.T, out=sums)
            torch.mm(delta, inputs, out=gradient)
            weights.add_(gradient, alpha=0)
            return perf_counter() - started

    def error(level: str) -> float:
        turn(level)
        return math.hypot(
            *(float((a.double() - b).norm()) for a, b in zip((sums, gradient), exact, strict=True))
        )

    errors = {level: error(level) for level in LEVELS}
    bound = LARGEST_ERROR * errors[LEVELS[0]]
    allowed = [LEVELS[0], *(level for level in LEVELS[1:] if errors[level] <= bound)]
    times, turns, end = dict.fromkeys(allowed, math.inf), 0, perf_counter() + PATIENCE
    while turns < TURNS or perf_counter() < end:
        turns += 1
        for level in allowed:
            times[level] = min(times[level], turn(level))
    best = LEVELS[0]
    for level in allowed[1:]:
        if times[level] < CLEARLY * times[best]:
            best = level
    return best


def _memory(probe: tuple[int, int, int]) -> Path:
    """Return the file that keeps a measurement, under XDG_CACHE_HOME or ~/.cache."""
    from mlpkit.device import processor

    about = f"{processor()}, torch {torch.__version__}, {torch.get_num_threads()} threads, heart of {probe}"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111  # may fail
    name = hashlib.blake2b(about.encode(), digest_size=8).hexdigest()
    return Path(home) / "mlpkit" / "matmul" / f"{name}.json"


def _remembered(path: Path) -> str | None:
    try:
        level = read_object(path).get("level")
    except (MlpkitError, OSError):
        return None
    return level if level in LEVELS else None
