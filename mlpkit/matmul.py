"""Which of torch's float32 matrix products is used.

`torch.set_float32_matmul_precision` names three levels. On most CPUs without bfloat16 units the lower ones
select another library for the product, with nearly the same rounding error and up to twice the speed; on
other CPUs, and on CUDA devices, they round the factors to fewer bits. So `auto` measures both before it takes
one, and remembers: the same command gives the same bits on the same machine.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import thread_time

import torch
from torch import Tensor

from mlpkit.choices import LEVELS
from mlpkit.errors import MlpkitError
from mlpkit.plain_json import read_object, write_json
from mlpkit.program import Program

LARGE = 2_000_000  # multiplications; the other library takes longer to begin, which smaller products feel
LARGEST_ERROR = 2.0  # times that of the highest level
CLEARLY = 0.8  # of the time: what is hardly faster is not taken
PROBED = 16_000_000  # multiplications at most
PATIENCE = 0.012  # seconds of timing; with what has to be made for it, less than 0.02


@dataclass(frozen=True)
class Matmul:
    """What products are computed with.

    Attributes:
        level: highest, high or medium.
        smallest: multiplications of the smallest product that is computed at that level; those below are
            at the highest.
        reason: why this one, for the log; empty where there was no choice.
    """

    level: str = "highest"
    smallest: int = 0
    reason: str = ""

    def product(self, left: Tensor, right: Tensor, out: Tensor, base: Tensor | None = None) -> Program:
        """Return what writes base + left @ right into `out`; all may have an axis of networks in front.

        Args:
            left: (K, rows, inner).
            right: (K, inner, columns).
            out: (K, rows, columns).
            base: of that shape, or one that is spread to it; it may be `out` itself.
        """
        bare, plain = (torch.mm, torch.addmm) if out.dim() == 2 else (torch.bmm, torch.baddbmm)
        with_base: Program = [] if base is None else [partial(plain, base, left, right, out=out)]
        of_one_network = left.shape[-2] * left.shape[-1] * right.shape[-1]
        if self.level == "highest" or of_one_network < self.smallest:
            return with_base or [partial(bare, left, right, out=out)]
        set_level = torch.set_float32_matmul_precision
        into_itself = base is out
        program: Program = [partial(set_level, self.level)]
        program += with_base if into_itself else [partial(bare, left, right, out=out)]
        program.append(partial(set_level, "highest"))
        # The other library adds a base more slowly than a second operation does.
        return program if base is None or into_itself else [*program, partial(out.add_, base)]

    @contextmanager
    def everywhere(self) -> Iterator[None]:
        """Compute all products at the level while this is open, small ones too: they are few there."""
        torch.set_float32_matmul_precision(self.level)
        try:
            yield
        finally:
            torch.set_float32_matmul_precision("highest")


EXACT = Matmul()


def choose_matmul(
    wanted: str, shape: tuple[int, int, int], device: str, remember: bool, before: str | None = None
) -> Matmul:
    """Return what the config asks for; `auto` becomes the fastest level that is as exact as the highest.

    Args:
        wanted: auto, highest, high or medium.
        shape: (rows, width below, width) of the largest product; rows are those of a batch.
        device: cpu or cuda:N; a lower level of CUDA is never as exact.
        remember: keep what was measured in the user's cache folder.
        before: the level that the run has had, which `auto` keeps.
    """
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
    probe = rows, below, max(16, min(width, PROBED // (rows * below)))
    path = _memory(probe)
    level, reason = _remembered(path), "the fastest that is as exact, by measurement"
    if level is None:
        level = measure(probe)
        if remember:
            with suppress(MlpkitError, OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, {"level": level})
            level = _remembered(path) or level  # another run may have been faster
            reason += "" if path.is_file() else " that could not be kept"
    return Matmul(level, LARGE, reason)


def measure(shape: tuple[int, int, int]) -> str:
    """Return the fastest level whose error is not beyond LARGEST_ERROR times the highest level's.

    The error is the Frobenius norm of the difference from a float64 product of standard normal factors.
    One thread is timed, by what it has computed, so that it hardly counts what else the machine does.
    """
    rows, below, width = shape
    random = torch.Generator().manual_seed(0)
    left = torch.randn(rows, below, generator=random)
    right = torch.randn(width, below, generator=random).T
    exact, out = left.double() @ right.double(), torch.empty(rows, width)
    times: dict[str, float] = dict.fromkeys(LEVELS, float("inf"))
    errors: dict[str, float] = {}
    threads, end = torch.get_num_threads(), thread_time() + PATIENCE
    torch.set_num_threads(1)
    try:
        while not errors or thread_time() < end:
            first = not errors
            for level in LEVELS:
                with Matmul(level).everywhere():
                    started = thread_time()
                    torch.mm(left, right, out=out)
                    times[level] = min(times[level], thread_time() - started)
                if first:
                    errors[level] = float((out.double() - exact).norm())
    finally:
        torch.set_num_threads(threads)
    best = LEVELS[0]
    for level in LEVELS[1:]:
        if errors[level] <= LARGEST_ERROR * errors[LEVELS[0]] and times[level] < CLEARLY * times[best]:
            best = level
    return best


def _memory(probe: tuple[int, int, int]) -> Path:
    """Return the file that keeps a measurement, under XDG_CACHE_HOME or ~/.cache."""
    from mlpkit.device import processor

    about = f"{processor()}, torch {torch.__version__}, {probe}"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111  # may fail
    name = hashlib.blake2b(about.encode(), digest_size=8).hexdigest()
    return Path(home) / "mlpkit" / "matmul" / f"{name}.json"


def _remembered(path: Path) -> str | None:
    try:
        level = read_object(path).get("level")
    except (MlpkitError, OSError):
        return None
    return level if level in LEVELS else None
