"""Parameters of scikit-learn's kind, and the config that they mean."""

import numbers
import re
from collections.abc import Mapping
from typing import Any

import torch

from mlpkit.config.config import Config, parse
from mlpkit.config.optimizer import OptimizerConfig
from mlpkit.config.problems import PLUGIN_HINT
from mlpkit.config.registry import choices
from mlpkit.data.dataset import Dataset
from mlpkit.errors import ConfigError, MlpkitError

Parameters = Mapping[str, Any]

KEYS = {  # a key of the config and the parameter that sets it; error messages name the parameter
    "model.hidden": "hidden_layer_sizes",
    "model.activation": "activation",
    "model.dropout": "dropout",
    "model.norm": "norm",
    "optimizer.name": "solver",
    "optimizer.lr": "learning_rate_init",
    "optimizer.weight_decay": "alpha",
    "optimizer.betas[0]": "beta_1",
    "optimizer.betas[1]": "beta_2",
    "optimizer.eps": "epsilon",
    "optimizer.momentum": "momentum",
    "scheduler.name": "schedule",
    "scheduler": "schedule",
    "loss.name": "loss",
    "init.name": "init",
    "dataset=arrays": "y",
    "dataset=table": "y",
    "trainer.epochs": "max_iter",
    "trainer.batch_size": "batch_size",
    "trainer.clip_norm": "clip_norm",
    "trainer.precision": "precision",
    "trainer.early_stopping.patience": "n_iter_no_change",
    "trainer.early_stopping.min_delta": "tol",
    "trainer.class_weight": "class_weight",
    "trainer.threads": "threads",
    "seed": "random_state",
}
ACTIVATIONS = {"logistic": "sigmoid"}  # scikit-learn's names of what mlpkit names as torch does
LOSSES = {"squared_error": "mse", "absolute_error": "mae", "log_loss": "auto"}
LARGEST_AUTO_BATCH = 200  # as in scikit-learn
# The solver of a model that takes no steps of an optimizer; see `mlpkit.training.exact`.
EXACT = {"linear": "exact", "logistic": "lbfgs"}


def config_of(parameters: Parameters, model: str, dataset: Dataset) -> Config:
    """Return the config of a run.

    Args:
        parameters: those of an estimator, as `get_params` returns them.
        model: the name of the model.
        dataset: what is trained on.

    Raises:
        ConfigError: a parameter is wrong; see `in_words`.
    """
    parameters = {
        name: value.item() if hasattr(value, "item") else value for name, value in parameters.items()
    }
    get, rows = parameters.get, len(dataset.splits["train"])
    patience = get("n_iter_no_change")  # scikit-learn stops one epoch later
    patience = None if patience is None else check_count("n_iter_no_change", patience) + 1
    batch = rows if get("solver") == "lbfgs" else batch_rows(get("batch_size"), rows)
    return parse(
        {
            "seed": get("random_state"),
            "device": get("device"),
            "dataset": {
                "name": dataset.name,
                "standardize": get("standardize"),
                **({"missing": get("missing")} if dataset.name == "table" else {}),
            },
            "model": _model(parameters, model),
            "loss": _named(LOSSES.get(str(get("loss")), get("loss", "auto"))),
            "optimizer": _optimizer(parameters, model, batch, rows),
            "scheduler": _named(get("schedule", "none")),
            "init": _named(get("init", "default")),
            "trainer": {
                "epochs": check_count("max_iter", get("max_iter")),
                "batch_size": "full" if batch == rows else batch,
                "clip_norm": get("clip_norm"),
                "precision": get("precision"),
                "threads": get("threads"),
                "compile": False,  # it takes many seconds
                "deterministic": torch.are_deterministic_algorithms_enabled(),
                "monitor": "auto" if "val" in dataset.splits else "loss",
                "early_stopping": {"patience": patience, "min_delta": float(get("tol", 0.0))},
                "class_weight": get("class_weight") or "none",
                "checkpoint_every": 10**9,
            },
            "run": {"loggers": [], "plots": False, "progress": "none"},
        }
    )


def batch_rows(wanted: Any, rows: int) -> int:
    """Return the number of rows in a batch.

    Raises:
        ConfigError: the parameter is wrong.
    """
    if wanted == "auto":
        return min(LARGEST_AUTO_BATCH, rows)
    return (
        rows if wanted is None else min(check_count("batch_size", wanted, ", auto or None (all rows)"), rows)
    )


def check_count(name: str, value: Any, others: str = "") -> int:
    """Return a parameter that must be a number of things.

    Raises:
        ConfigError: it is not an integer of at least 1.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ConfigError(f"{name}={value!r}: must be an integer ≥ 1{others}")
    return int(value)


def check_precision(value: Any) -> None:
    """Check the parameter `precision`.

    Raises:
        ConfigError: it is not one of its three values.
    """
    if not (isinstance(value, str) and value in ("auto", "float32", "float64")):
        raise ConfigError(f"precision={value!r}: must be auto, float32 or float64")


def in_words(error: MlpkitError) -> str:
    """Return an error's text with the names of parameters instead of keys of a config."""
    keys = "|".join(map(re.escape, sorted(KEYS, key=len, reverse=True)))
    return re.sub(
        rf"\b({keys})(?=[.=:[ ])", lambda found: KEYS[found[0]], str(error).replace(PLUGIN_HINT, "")
    )


def _model(parameters: Parameters, model: str) -> dict[str, Any]:
    if model != "mlp":
        return {"name": model, "bias": parameters["fit_intercept"]}
    sizes, activation = parameters["hidden_layer_sizes"], parameters["activation"]
    return {
        "name": model,
        "hidden": list(sizes) if hasattr(sizes, "__iter__") else [sizes],
        "activation": ACTIVATIONS.get(activation, activation),
        "dropout": float(parameters["dropout"]),
        "norm": parameters["norm"],
    }


def _optimizer(parameters: Parameters, model: str, batch: int, rows: int) -> dict[str, Any]:
    get = parameters.get
    if parameters["solver"] == EXACT.get(model):
        return {"name": "sgd"}
    # scikit-learn divides the penalty of its networks by the rows of a batch; C multiplies the sum of losses.
    decay = 1 / (parameters["C"] * rows) if get("C") else get("alpha", 0.0) / batch
    solver = parameters["solver"]
    if solver == "lbfgs":  # scikit-learn counts its iterations, and takes no learning rate
        return {"name": solver, "max_iter": 1, "max_eval": 25, "weight_decay": float(decay)}
    found = {"name": solver, "lr": get("learning_rate_init"), "weight_decay": float(decay)}
    if solver != "sgd":
        options = {"betas": [get("beta_1", 0.9), get("beta_2", 0.999)], "eps": get("epsilon", 1e-8)}
        schema = choices("optimizer").get(str(solver), OptimizerConfig)  # `parse` refuses an unknown one
        return {**found, **{key: value for key, value in options.items() if key in schema.model_fields}}
    momentum = float(get("momentum", 0.9))
    return {**found, "momentum": momentum, "nesterov": bool(get("nesterovs_momentum", True)) and momentum > 0}


def _named(choice: Any) -> Any:
    """Return the section of a choice, given its name or a dict with its name and options."""
    return {"name": choice} if isinstance(choice, str) else choice
