"""The peers, one module each. `prepare(overrides)` returns what trains one portion: `() -> Trained`."""

TITLES = {
    "mlpkit_training": "mlpkit",
    "mlpkit_with_evaluation": "mlpkit, with evaluation",
    "mlpkit_steps": "mlpkit, scores each portion only",
    "plain_loop": "plain PyTorch loop, fused Adam",
    "tutorial_way": "the tutorial's way",
    "scikit_learn": "scikit-learn",
    "skorch_net": "skorch",
    "lightning_trainer": "Lightning",
    "keras_on_jax": "Keras on JAX",
    "jax_scan": "JAX jit + scan",
    "products": "the matrix products alone",
}
