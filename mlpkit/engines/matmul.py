"""The precision of float32 matrix products.

`torch.set_float32_matmul_precision` has three levels. On most CPUs without bfloat16 units the lower ones
select another library for the product, with nearly the same rounding error and up to twice the speed; on
other CPUs, and on CUDA devices, they round the factors to fewer bits. mlpkit adds a fourth level, bfloat16,
which rounds the factors of large products on any device. `mlpkit.engines.matmul_choice` chooses the level.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mlpkit.engines.operations import Operations

ROUNDED = "bfloat16"
LARGE = 2_000_000  # multiplications in a product; below, the faster library saves less than it takes to start


@dataclass(frozen=True)
class Matmul:
    """The precision of a run's matrix products.

    Attributes:
        level: highest, high, medium or bfloat16.
        smallest: products with fewer multiplications are computed at the highest level.
        reason: the reason for this level, for the log; empty if there was no choice.
    """

    level: str = "highest"
    smallest: int = 0
    reason: str = ""

    def product(
        self, left: Tensor, right: Tensor, out: Tensor, base: Tensor | None = None, networks: int = 1
    ) -> Operations:
        """Return the operations that write base + left @ right to `out`; the axis K is optional.

        Args:
            left: (K, rows, inner).
            right: (K, inner, columns).
            out: (K, rows, columns).
            base: of that shape, or broadcast to it; it may be `out` itself.
            networks: the number of networks stacked in these matrices. The level depends on the product of
                one network, so that it is the same whether trained alone or among K.
        """
        product, product_with_base = (torch.mm, torch.addmm) if out.dim() == 2 else (torch.bmm, torch.baddbmm)
        with_base: Operations = (
            [] if base is None else [partial(product_with_base, base, left, right, out=out)]
        )
        of_one_network = left.shape[-2] * left.shape[-1] * right.shape[-1] // networks
        if self.level == "highest" or of_one_network < self.smallest:
            return with_base or [partial(product, left, right, out=out)]
        if self.level == ROUNDED:
            return rounded(product, left, right, out, base)
        set_level = torch.set_float32_matmul_precision
        into_itself = base is out
        operations: Operations = [partial(set_level, self.level)]
        operations += with_base if into_itself else [partial(product, left, right, out=out)]
        operations.append(partial(set_level, "highest"))
        # The other library adds `base` more slowly than a second operation does.
        return operations if base is None or into_itself else [*operations, partial(out.add_, base)]

    @property
    def for_scores(self) -> "Matmul":
        """The precision in evaluation: factors are never rounded to bfloat16."""
        return EXACT if self.level == ROUNDED else self

    @contextmanager
    def for_all_products(self) -> Iterator[None]:
        """Compute products of all sizes in the block at the level of `for_scores`."""
        torch.set_float32_matmul_precision(self.for_scores.level)
        try:
            yield
        finally:
            torch.set_float32_matmul_precision("highest")


EXACT = Matmul()


def rounded(
    multiply: Callable[..., Tensor], left: Tensor, right: Tensor, out: Tensor, base: Tensor | None
) -> Operations:
    """Return the operations that write base + left @ right to a float32 `out`; the product is in bfloat16."""
    factors = [torch.empty_like(factor, dtype=torch.bfloat16) for factor in (left, right)]
    products = torch.empty_like(out, dtype=torch.bfloat16)
    operations: Operations = [
        *(partial(factor.copy_, exact) for factor, exact in zip(factors, (left, right), strict=True)),
        partial(multiply, *factors, out=products),
    ]
    if base is out:
        return [*operations, partial(out.add_, products)]
    operations.append(partial(out.copy_, products))
    return operations if base is None else [*operations, partial(out.add_, base)]
