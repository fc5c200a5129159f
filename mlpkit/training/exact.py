"""Fits linear and logistic regression with scikit-learn's solvers instead of steps of an optimizer.

Least squares has a closed form, and the loss of a logistic regression is convex: L-BFGS finds its minimum in
tens of passes over the rows, where Adam takes hundreds.
"""

from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression

from mlpkit.config.config import Config
from mlpkit.data.dataset import Dataset
from mlpkit.folders.checkpoint import Checkpoint
from mlpkit.folders.state import Progress, State
from mlpkit.models.torch_network import build_model
from mlpkit.training.build import experiment_of


def solve(config: Config, dataset: Dataset, options: dict[str, Any]) -> tuple[Checkpoint, int]:
    """Return the checkpoint of a solved linear or logistic model, and the number of iterations.

    Args:
        config: the run's config.
        dataset: the training rows.
        options: C, tol and max_iter of a logistic regression.

    Raises:
        MlpkitError: the config or the dataset cannot be used.
    """
    network = build_model(config, dataset)
    experiment = experiment_of(config, dataset, network)
    train, intercept = dataset.splits["train"], config.model.model_dump()["bias"]
    inputs, targets = network.scaling(train.inputs.double()).numpy(), train.targets.numpy()
    weights = None if train.weights is None else train.weights.numpy()
    if experiment.class_weights:
        by_class = np.asarray(experiment.class_weights)[targets]
        weights = by_class if weights is None else weights * by_class
    if dataset.input_schema.task == "regression":
        solver = LinearRegression(fit_intercept=intercept)
    else:
        solver = LogisticRegression(fit_intercept=intercept, **options)
    solver.fit(inputs, targets, weights)
    model = network.state_dict()
    model["layers.0.weight"] = _tensor(solver.coef_, model["layers.0.weight"])
    if intercept:
        model["layers.0.bias"] = _tensor(solver.intercept_, model["layers.0.bias"])
    state = State(Progress(), {}, model)
    done = int(np.max(getattr(solver, "n_iter_", 1)))
    checkpoint = Checkpoint(
        config, dataset.input_schema, state, dataset.fingerprint, experiment.class_weights
    )
    return checkpoint, done


def _tensor(values: Any, like: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=like.dtype).reshape(like.shape)
