"""JAX: many runs of one shape, `jit(vmap(scan))` over full-batch epochs, with each epoch's scores or without.

All epochs are one call. Compiling is timed apart.
"""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import jax
import numpy as np
import torch
from jax import Array, lax
from jax import numpy as jnp
from workload import Workload

from peers.jax_scan import Parameters, adam
from peers.torch_parts import network


def prepare(
    work: Workload,
    monitored: tuple[torch.Tensor, torch.Tensor],
    lrs: Sequence[float],
    epochs: int,
    scores: bool,
) -> tuple[Callable[[], float], float]:
    """Return what trains from the beginning and returns the seconds that it took, and those of compiling.

    Args:
        work: rows and layers of all runs; two classes.
        monitored: scaled inputs and targets of the split that is scored after each epoch.
        lrs: the learning rate of each run.
        epochs: of each run.
        scores: whether losses and accuracies of both splits are computed in each epoch.
    """
    begun = [first_parameters(work) for _ in lrs]
    state = jax.tree.map(lambda *values: jnp.stack(values), *begun)
    train = jnp.asarray(work.inputs.numpy()), jnp.asarray(work.targets.numpy())
    others = tuple(jnp.asarray(part.numpy()) for part in monitored)

    def of_run(parameters: Parameters, lr: Array) -> tuple[Parameters, Any]:
        zeros = jax.tree.map(jnp.zeros_like, parameters)

        def epoch(state: Any, step: Array) -> tuple[Any, Any]:
            parameters, averages = state
            (loss, hits), slopes = jax.value_and_grad(score, has_aux=True)(parameters, *train)
            state = adam(parameters, averages, slopes, step, lr)
            found = (loss, hits, *score(state[0], *others)) if scores else None
            return state, found

        steps = jnp.arange(1.0, epochs + 1)
        (trained, _), found = lax.scan(epoch, (parameters, (zeros, zeros)), steps)
        return trained, found

    rates = jnp.asarray(np.asarray(lrs, dtype=np.float32))
    started = perf_counter()
    compiled = jax.jit(jax.vmap(of_run)).lower(state, rates).compile()
    compiling = perf_counter() - started

    def train_all() -> float:
        started = perf_counter()
        jax.block_until_ready(compiled(state, rates))
        return perf_counter() - started

    return train_all, compiling


def first_parameters(work: Workload) -> Parameters:
    """Return weights as PyTorch begins with them."""
    linear = [layer for layer in network(work) if isinstance(layer, torch.nn.Linear)]
    return [
        (jnp.asarray(layer.weight.detach().T.numpy()), jnp.asarray(layer.bias.detach().numpy()))
        for layer in linear
    ]


def score(parameters: Parameters, inputs: Array, targets: Array) -> tuple[Array, Array]:
    """Return the mean loss of two classes, and the accuracy."""
    *lower, (weight, bias) = parameters
    units = inputs
    for below, shift in lower:
        units = jax.nn.relu(units @ below + shift)
    outputs = units @ weight + bias
    loss = (jax.nn.softplus(outputs) - targets * outputs).mean()
    return loss, ((outputs > 0) == (targets > 0.5)).mean()
