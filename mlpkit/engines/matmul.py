"""Which of torch's float32 matrix products is used.

`torch.set_float32_matmul_precision` names three levels. On most CPUs without bfloat16 units the lower ones
select another library for the product, with nearly the same rounding error and up to twice the speed; on
other CPUs, and on CUDA devices, they round the factors to fewer bits. A fourth level, bfloat16, is our own:
it rounds large products wherever it is asked for. `mlpkit.engines.matmul_choice` chooses.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mlpkit.engines.operations import Operations

ROUNDED = "bfloat16"
LARGE = 2_000_000  # multiplications; what is faster for large ones takes longer to begin


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
    ) -> Operations:
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
        with_base: Operations = [] if base is None else [partial(plain, base, left, right, out=out)]
        of_one_network = left.shape[-2] * left.shape[-1] * right.shape[-1] // networks
        if self.level == "highest" or of_one_network < self.smallest:
            return with_base or [partial(bare, left, right, out=out)]
        if self.level == ROUNDED:
            return rounded(bare, left, right, out, base)
        set_level = torch.set_float32_matmul_precision
        into_itself = base is out
        operations: Operations = [partial(set_level, self.level)]
        operations += with_base if into_itself else [partial(bare, left, right, out=out)]
        operations.append(partial(set_level, "highest"))
        # The other library adds a base more slowly than a second operation does.
        return operations if base is None or into_itself else [*operations, partial(out.add_, base)]

    @property
    def for_scores(self) -> "Matmul":
        """How products are computed where nothing is trained: never of rounded factors."""
        return EXACT if self.level == ROUNDED else self

    @contextmanager
    def for_all_products(self) -> Iterator[None]:
        """Compute all products as those of scores while this is open, small ones too: they are few there."""
        torch.set_float32_matmul_precision(self.for_scores.level)
        try:
            yield
        finally:
            torch.set_float32_matmul_precision("highest")


EXACT = Matmul()


def rounded(
    multiply: Callable[..., Tensor], left: Tensor, right: Tensor, out: Tensor, base: Tensor | None
) -> Operations:
    """Return what writes base + left @ right, with bfloat16 factors and products, into a float32 `out`."""
    factors = [torch.empty_like(factor, dtype=torch.bfloat16) for factor in (left, right)]
    products = torch.empty_like(out, dtype=torch.bfloat16)
    operations: Operations = [
        *(partial(ours.copy_, theirs) for ours, theirs in zip(factors, (left, right), strict=True)),
        partial(multiply, *factors, out=products),
    ]
    if base is out:
        return [*operations, partial(out.add_, products)]
    operations.append(partial(out.copy_, products))
    return operations if base is None else [*operations, partial(out.add_, base)]
