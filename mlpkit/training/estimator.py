"""The base of mlpkit's scikit-learn estimators: fit, continue, predict, save and load."""

import numbers
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from mlpkit.data.dataset import Dataset
from mlpkit.data.frames import MISSING
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.randomness import derived_seed
from mlpkit.data.scaling import Affine
from mlpkit.errors import MlpkitError
from mlpkit.training.estimator_config import EXACT, check_count, check_precision, config_of, in_words
from mlpkit.training.estimator_data import (
    as_tensor,
    dataset_of,
    names_or_numbers,
    read_inputs,
    read_rows,
    schema_of,
)
from mlpkit.training.estimator_file import labels_of, load_members, parameters_of, save_members
from mlpkit.training.exact import solve
from mlpkit.training.in_memory import MemoryRecorder, StopRule, train_in_memory
from mlpkit.training.members import Members

Array = NDArray[Any]


@contextmanager
def plain_errors() -> Iterator[None]:
    """Raise mlpkit's errors as ValueError, with the names of parameters instead of keys of a config."""
    try:
        yield
    except MlpkitError as error:
        raise ValueError(in_words(error)) from None


class MlpkitEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Trains a model on arrays or a DataFrame.

    Attributes:
        n_features_in_: number of columns.
        feature_names_in_: their names, if all are strings.
        n_iter_: epochs of the last fit, the most of all members.
        t_: rows seen in all epochs.
        loss_curve_: the training loss after each epoch, the mean of the members.
        validation_scores_: with early stopping, the score of the held-out rows after each epoch, likewise.
        n_outputs_: number of targets.
    """

    model_name: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]]

    # ------------------------------------------------------------------------------- what subclasses say

    def _encode_targets(
        self, y: Array, trained: InputSchema | None, classes: Any, precision: str
    ) -> tuple[str, Array, Any]:
        """Return the task, the targets as in `Split`, and the labels of the classes, or None.

        Args:
            y: the targets, checked.
            trained: the input schema of a model that is trained further; None: a new model.
            classes: the labels of all classes, if they are given.
            precision: the dtype of targets that are not labels.
        """
        raise NotImplementedError

    def _class_weight(self, labels: Any) -> Any:
        """Return the weights of the classes as a list, or None or a word."""
        return None

    def _keep_labels(self, labels: Any) -> None:
        """Set the attributes that describe the classes."""

    # ------------------------------------------------------------------------------------------ training

    def _fit(self, X: Any, y: Any, sample_weight: Any, is_partial: bool = False, classes: Any = None) -> Self:
        """Train on rows, from the weights of before if they are to be used."""
        parameters = self.get_params(deep=False)
        is_exact = parameters["solver"] == EXACT.get(self.model_name)
        if is_partial:
            parameters |= {"max_iter": 1, "n_iter_no_change": None, "schedule": "none"}
        if is_partial or is_exact:
            parameters["early_stopping"] = False
        continues = hasattr(self, "_members") and (is_partial or self.warm_start) and not is_exact
        before: Members | None = self._members if continues else None
        with plain_errors():
            dataset, labels = self._dataset(X, y, sample_weight, classes, before, parameters)
            if is_exact:
                self._solve(dataset, parameters)
            else:
                self._train(dataset, parameters, before)
        self.n_outputs_ = len(dataset.input_schema.targets)
        self._keep_labels(labels)
        if not is_partial and not is_exact:
            self._warn_if_not_converged()
        return self

    def _dataset(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        classes: Any,
        before: Members | None,
        parameters: dict[str, Any],
    ) -> tuple[Dataset, Any]:
        """Return the dataset and the labels of the classes; change the parameters to what this fit uses."""
        trained = before.schema if before else None
        check_precision(self.precision)
        dtypes: Any = before.precision if before else self.precision
        dtypes = (np.float64, np.float32) if dtypes == "auto" else np.dtype(dtypes)
        missing = before.missing if before else MISSING
        inputs, values, weights, encoder = read_rows(self, X, y, sample_weight, dtypes, trained, missing)
        precision = "float32" if inputs.dtype == np.float32 else "float64"
        task, targets, labels = self._encode_targets(values, trained, classes, precision)
        schema = trained or schema_of(self, inputs.shape[1], encoder, task, *_names(y, task, targets, labels))
        seed = 0 if parameters["solver"] == EXACT.get(self.model_name) else self._seed(before)
        dataset = dataset_of(
            schema,
            as_tensor(inputs),
            torch.from_numpy(targets),
            None if weights is None else torch.from_numpy(weights),
            parameters["standardize"] and parameters["solver"] != "exact",
            (parameters["validation_fraction"], seed) if parameters["early_stopping"] else None,
            _scalings(before) if before else None,
        )
        class_weight = self._class_weight(labels)
        if isinstance(class_weight, list):
            class_weight = dict(zip(schema.classes, class_weight, strict=True))
        if weights is not None:  # a weight of 2 is worth two rows, also beside the penalty
            mean = float(weights.mean())
            parameters |= {"alpha": parameters.get("alpha", 0.0) / mean, "C": parameters.get("C", 0.0) * mean}
        standardize = dataset.input_scaling is not None or dataset.target_scaling is not None
        parameters |= {
            "random_state": seed,
            "precision": precision,
            "class_weight": class_weight,
            "standardize": standardize,
            "missing": missing,
        }
        return dataset, labels

    def _seed(self, before: Members | None) -> int:
        """Return the seed of this fit: another one at each continuation, so that rows come in a new order."""
        wanted = self.random_state
        if not isinstance(wanted, numbers.Integral):
            return int(check_random_state(wanted).randint(np.iinfo(np.int32).max))
        return derived_seed(int(wanted), "continue", self.t_) >> 1 if before else int(wanted)

    def _solve(self, dataset: Dataset, parameters: dict[str, Any]) -> None:
        config = config_of(parameters, self.model_name, dataset)
        given = self.get_params(deep=False)  # scikit-learn weights C itself
        options = {name: given[name] for name in ("C", "tol", "max_iter") if "C" in given}
        checkpoint, self.n_iter_ = solve(config, dataset, options)
        self.t_, self._members = 0, Members([checkpoint], self.device)

    def _train(self, dataset: Dataset, parameters: dict[str, Any], before: Members | None) -> None:
        config = config_of(parameters, self.model_name, dataset)
        count = check_count("n_members", parameters.get("n_members", 1))
        configs = [config.model_copy(update={"seed": config.seed + number}) for number in range(count)]
        patience = parameters["n_iter_no_change"]
        stop = None if patience is None else StopRule(patience, self.tol)
        runs = train_in_memory(configs, [dataset] * count, before.checkpoints if before else (), stop)
        early = "val" in dataset.splits
        self._members = Members([run.checkpoint(best=early) for run in runs], self.device)
        self.n_iter_ = max(len(run.reports) for run in runs)
        self.t_ = (self.t_ if before else 0) + self.n_iter_ * len(dataset.splits["train"])
        curve = _mean_curve(runs, "train", "loss")
        self.loss_curve_: list[float] = [*(self.loss_curve_ if before else []), *curve]
        if early:
            self.validation_scores_ = _mean_curve(runs, "val", runs[0].experiment.task.names[1])

    def _warn_if_not_converged(self) -> None:
        if self.n_iter_no_change is not None and self.n_iter_ == self.max_iter:
            warnings.warn(
                f"{type(self).__name__}: the maximum of {self.max_iter} epochs was reached and the "
                "optimization has not converged yet; raise max_iter, learning_rate_init or tol",
                ConvergenceWarning,
                stacklevel=4,
            )

    # ---------------------------------------------------------------------------------------- prediction

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there is a model; a `fit` that failed leaves other attributes behind."""
        return hasattr(self, "_members")

    def _outputs(self, X: Any) -> Tensor:
        """Return the outputs (rows, width) of the model, the mean of the members."""
        check_is_fitted(self)
        with plain_errors():
            of = self._members
            return of.outputs(read_inputs(self, X, of.precision, of.schema, of.missing))

    def _linear(self) -> tuple[Array, Array]:
        """Return coefficients (width, features) and intercepts (width,) of a linear model."""
        check_is_fitted(self)
        weights, biases = self._members.linear()
        return weights.numpy(), biases.numpy()

    # ------------------------------------------------------------------------------------- save and load

    def save(self, path: str | Path) -> None:
        """Save the model as an mlpkit checkpoint, which `load` and `mlpkit predict` read.

        Several members go into a folder of that name, each in a file of its own.

        Args:
            path: the file, such as model.safetensors.

        Raises:
            NotFittedError: the estimator is not fitted.
            ValueError: the labels of the classes cannot be saved.
            WriteError: the file cannot be written.
        """
        check_is_fitted(self)
        save_members(self, self._members, Path(path))

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto", allow_large: bool = False) -> Self:
        """Return the estimator that `save` has written, or one with the model of any other mlpkit checkpoint.

        Args:
            path: the file or folder that was saved, or a checkpoint of a run, such as
                outputs/.../checkpoints/best.safetensors.
            device: where to compute.
            allow_large: whether to load a model with more than 25 million parameters.

        Raises:
            ValueError: the file is damaged, or its model is of another kind.
        """
        with plain_errors():
            members = load_members(Path(path), device, allow_large)
        schema, model = members.schema, members.checkpoints[0].config.model.name
        if model != cls.model_name or schema.task not in cls.tasks:
            raise ValueError(
                f"{path}: model={model} for {schema.task}, which {cls.__name__} is not; load it with the "
                "class of that model and task"
            )
        estimator = cls(**parameters_of(members, cls))
        columns, progress = schema.columns, members.checkpoints[0].state.progress
        if schema.encoder is not None or columns != names_or_numbers((), "x", len(columns)):
            estimator.feature_names_in_ = np.asarray(columns, dtype=object)
        estimator.n_features_in_, estimator.n_outputs_ = len(columns), len(schema.targets)
        estimator.n_iter_, estimator.t_, estimator.loss_curve_ = max(1, progress.epoch), progress.step, []
        estimator._members = members
        estimator._keep_labels(labels_of(members.checkpoints[0]))
        return estimator


def _names(y: Any, task: str, targets: Array, labels: Any) -> tuple[Sequence[Any], Sequence[Any]]:
    """Return the names of the targets and of the classes."""
    if task in ("binary", "multiclass"):
        return [getattr(y, "name", None) or "label"], list(labels)
    columns, count = getattr(y, "columns", None), targets.shape[1]
    if columns is None:
        columns = [getattr(y, "name", None) or "y"] if count == 1 else [f"y{k + 1}" for k in range(count)]
    return list(columns), ()


def _scalings(before: Members) -> tuple[Affine | None, Affine | None]:
    """Return the scaling of inputs and targets of a trained model."""
    model = before.checkpoints[0].state.model
    found = [
        Affine(model[f"{layer}.mean"].float(), model[f"{layer}.std"].float())
        if f"{layer}.mean" in model
        else None
        for layer in ("scaling", "unscaling")
    ]
    return found[0], found[1]


def _mean_curve(runs: Sequence[MemoryRecorder], split: str, score: str) -> list[float]:
    """Return a score after each epoch, the mean of the members that were still trained."""
    curves = ([report.scores[split][score] for report in run.reports] for run in runs)
    return [float(np.mean([v for v in values if v is not None])) for values in zip_longest(*curves)]
