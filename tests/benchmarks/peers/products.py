"""The lower bound: a step's matrix products and nothing else, each at the fastest level that is as exact.

For each layer one product on the way up (a Wᵀ) and two on the way down (δᵀ a and δ W; the lowest layer needs
no δ W), into buffers that are there. Nothing depends on anything: this computes, it does not train.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from workload import Trained, load_workload

from mlpkit.engines.matmul_choice import LARGEST_ERROR

LEVELS = ("highest", "medium")
ROUNDS = 300  # of a product at each level, interleaved; the fastest counts


@dataclass
class Product:
    """left @ right, into out, at a level of `torch.set_float32_matmul_precision`."""

    left: Tensor
    right: Tensor
    out: Tensor
    level: str = LEVELS[0]


def prepare(overrides: tuple[str, ...]) -> Callable[[], Trained]:
    """See `peers`."""
    work = load_workload(overrides)
    products = products_of(work.widths, work.batch_size)
    for product in products:
        product.level = fastest(product)
    products.sort(key=lambda product: product.level)  # so that a step changes the level only once or twice
    steps = work.epochs * (work.rows // work.batch_size)

    def train() -> Trained:
        level = ""
        for _ in range(steps):
            for product in products:
                if product.level != level:
                    level = product.level
                    torch.set_float32_matmul_precision(level)
                torch.mm(product.left, product.right, out=product.out)
        return Trained(steps if work.full_batch else steps * work.batch_size, float("nan"))

    return train


def products_of(widths: tuple[int, ...], rows: int) -> list[Product]:
    """Return the products of one step, with random factors."""
    products = []
    for index, (below, width) in enumerate(pairwise(widths)):
        units, delta, weight = torch.randn(rows, below), torch.randn(rows, width), torch.randn(width, below)
        products.append(Product(units, weight.T, torch.empty(rows, width)))
        products.append(Product(delta.T, units, torch.empty(width, below)))
        if index:
            products.append(Product(delta, weight, torch.empty(rows, below)))
    return products


def fastest(product: Product) -> str:
    """Return the level at which a product takes the least time, of those that are as exact as the highest."""
    exact = [level for level in LEVELS if error_of(product, level) <= LARGEST_ERROR * error_of(product)]
    times = dict.fromkeys(exact, float("inf"))
    for _ in range(ROUNDS):
        for level in exact:
            torch.set_float32_matmul_precision(level)
            started = time.perf_counter()
            torch.mm(product.left, product.right, out=product.out)
            times[level] = min(times[level], time.perf_counter() - started)
    return min(exact, key=times.__getitem__)


def error_of(product: Product, level: str = LEVELS[0]) -> float:
    """Return how far a product at a level is from float64's, relative to it (Frobenius)."""
    torch.set_float32_matmul_precision(level)
    torch.mm(product.left, product.right, out=product.out)
    exact = product.left.double() @ product.right.double()
    return float((product.out.double() - exact).norm() / exact.norm())
