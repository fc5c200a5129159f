"""JAX: a whole epoch in one compiled function, `lax.scan` over the batches, Adam or SGD written out.

Compiling is part of the warm-up. The last batch has fewer rows where they do not divide, as for the others.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import torch
from jax import Array, lax
from jax import numpy as jnp
from workload import Trained, Workload, load_workload

from peers.torch_parts import network

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

Parameters = list[tuple[Array, Array]]  # weight (width below, width) and bias of each layer
State = tuple[Parameters, Any, Array, Array]  # parameters, the optimizer's averages, steps, random key


def prepare(overrides: tuple[str, ...]) -> Callable[[], Trained]:
    """See `peers`."""
    work = load_workload(overrides)
    inputs, targets = jnp.asarray(work.inputs.numpy()), jnp.asarray(work.targets.numpy())
    state, random = first_state(work), np.random.default_rng(0)
    portion = compiled_portion(work)

    def train() -> Trained:
        nonlocal state
        order = None if work.full_batch else random.permutation(work.rows).astype(np.int32)
        state, loss = portion(state, inputs, targets, order)
        return Trained(work.count, float(loss))

    return train


def first_state(work: Workload) -> State:
    """Return weights as PyTorch begins with them, and averages of zero."""
    linear = [layer for layer in network(work) if isinstance(layer, torch.nn.Linear)]
    parameters = [
        (jnp.asarray(layer.weight.detach().T.numpy()), jnp.asarray(layer.bias.detach().numpy()))
        for layer in linear
    ]
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    averages = (zeros, jax.tree.map(jnp.copy, zeros)) if work.config.optimizer.name == "adam" else ()
    # This generator is the fastest that JAX has on a CPU.
    return parameters, averages, jnp.zeros(()), jax.random.key(0, impl="unsafe_rbg")


def compiled_portion(work: Workload) -> Callable[..., tuple[State, Array]]:
    """Return the function (state, inputs, targets, order of the rows) -> (state, last loss)."""
    size, whole = work.batch_size, work.rows // work.batch_size * work.batch_size
    update = adam if work.config.optimizer.name == "adam" else sgd

    @partial(jax.jit, donate_argnums=0)
    def portion(state: State, inputs: Array, targets: Array, order: Array | None) -> tuple[State, Array]:
        def step(state: State, rows: Array | None) -> tuple[State, Array]:
            parameters, averages, steps, key = state
            if work.dropout:
                key, now = jax.random.split(key)
            else:
                now = key
            batch = (inputs, targets) if rows is None else (inputs[rows], targets[rows])
            loss, gradients = jax.value_and_grad(loss_of)(parameters, *batch, now, work)
            parameters, averages = update(
                parameters, averages, gradients, steps + 1, work.config.optimizer.lr
            )
            return (parameters, averages, steps + 1, key), loss

        if order is None:
            state, losses = lax.scan(step, state, None, length=work.epochs)
            return state, losses[-1]
        state, losses = lax.scan(step, state, order[:whole].reshape(-1, size))
        if whole < work.rows:
            return step(state, order[whole:])
        return state, losses[-1]

    return portion


def loss_of(parameters: Parameters, inputs: Array, targets: Array, key: Array, work: Workload) -> Array:
    """Return the mean loss of a batch."""
    *lower, (weight, bias) = parameters
    units = inputs
    for index, (below, shift) in enumerate(lower):
        units = jax.nn.relu(units @ below + shift)
        if work.dropout:
            kept = jax.random.bernoulli(jax.random.fold_in(key, index), 1 - work.dropout, units.shape)
            units = jnp.where(kept, units / (1 - work.dropout), 0)
    outputs = units @ weight + bias
    if work.task == "multiclass":
        return -jnp.take_along_axis(jax.nn.log_softmax(outputs), targets[:, None], 1).mean()
    if work.task == "binary":
        return (jax.nn.softplus(outputs) - targets * outputs).mean()
    return jnp.square(outputs - targets).mean()


def adam(
    parameters: Parameters, averages: Any, gradients: Parameters, step: Array, rate: float
) -> tuple[Parameters, Any]:
    """Return what Adam (Kingma, Ba 2015) makes of the parameters, and the new averages."""
    first, second = averages
    first = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, gradients)
    second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, gradients)
    size, root = rate / (1 - BETA1**step), jnp.sqrt(1 - BETA2**step)
    parameters = jax.tree.map(
        lambda p, m, v: p - size * m / (jnp.sqrt(v) / root + EPSILON), parameters, first, second
    )
    return parameters, (first, second)


def sgd(
    parameters: Parameters, averages: Any, gradients: Parameters, step: Array, rate: float
) -> tuple[Parameters, Any]:
    """Return the parameters a step down their gradients."""
    return jax.tree.map(lambda p, g: p - rate * g, parameters, gradients), averages
