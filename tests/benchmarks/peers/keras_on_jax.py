"""Keras 3 on JAX: `model.fit`."""

import os
from collections.abc import Callable

os.environ["KERAS_BACKEND"] = "jax"

import keras
from workload import Trained, load_workload


def prepare(overrides: tuple[str, ...]) -> Callable[[], Trained]:
    """See `peers`."""
    work = load_workload(overrides)
    inputs, targets = work.inputs.numpy(), work.targets.numpy().astype("int32")
    layers = [keras.layers.Dense(width, activation="relu") for width in work.widths[1:-1]]
    model = keras.Sequential([keras.Input((work.widths[0],)), *layers, keras.layers.Dense(work.widths[-1])])
    model.compile(
        optimizer=keras.optimizers.Adam(work.config.optimizer.lr),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )

    def train() -> Trained:
        history = model.fit(inputs, targets, batch_size=work.batch_size, epochs=work.epochs, verbose=0)
        return Trained(work.count, float(history.history["loss"][-1]))

    return train
