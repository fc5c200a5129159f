"""What scikit-learn's classifiers and regressors have in common: targets, predictions, tags."""

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d

from mlpkit.data.input_schema import InputSchema
from mlpkit.training.estimator import MlpkitEstimator
from mlpkit.training.estimator_config import EXACT

Array = NDArray[Any]


def takes_steps(estimator: Any) -> bool:
    """Whether an estimator's solver can train on a few rows at a time."""
    if estimator.solver in EXACT.values():
        raise AttributeError(f"partial_fit: not for solver={estimator.solver!r}; choose adam, adamw or sgd")
    return True


class Classifier(ClassifierMixin, MlpkitEstimator):  # type: ignore[misc]
    """A classifier.

    Attributes:
        classes_: the labels of the classes, in order; for multilabel 0, 1, ….
    """

    tasks: ClassVar[tuple[str, ...]] = ("binary", "multiclass")

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the model.

        Args:
            X: (rows, features) numbers, or a DataFrame, whose columns may also be strings, categories, dates
                and booleans.
            y: (rows,) labels; a model that takes several labels also (rows, labels) of 0 and 1.
            sample_weight: (rows,) how much each row counts in the loss; None: all the same.

        Raises:
            ValueError: a parameter is wrong, the rows cannot be used, or training diverged.
        """
        return self._fit(X, y, sample_weight)

    @available_if(takes_steps)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train for one epoch on some rows, from where training was; scaling and encoding stay as they were.

        Args:
            X: as in `fit`.
            y: as in `fit`.
            classes: the labels of all classes; needed at the first call.
            sample_weight: as in `fit`.

        Raises:
            ValueError: as in `fit`, or the classes are not those of the first call.
        """
        if not hasattr(self, "_members") and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        return self._fit(X, y, sample_weight, is_partial=True, classes=classes)

    def predict(self, X: Any) -> Array:
        """Return the most probable label of each row (rows,), or 0 and 1 for each label (rows, labels)."""
        outputs = self._outputs(X)
        decoded = self._members.task.decode(outputs).numpy()
        return decoded if decoded.ndim == 2 else self.classes_[decoded]

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class or label (rows, classes)."""
        outputs, task = self._outputs(X), self._members.task
        assert task.probabilities is not None
        return task.probabilities(outputs.double()).to(outputs.dtype).numpy()

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the probabilities (rows, classes)."""
        return np.log(self.predict_proba(X))

    def _encode_targets(
        self, y: Any, trained: InputSchema | None, classes: Any, precision: str
    ) -> tuple[str, Array, Any]:
        y = y.toarray() if hasattr(y, "toarray") else y
        check_classification_targets(y)
        if type_of_target(y) == "multilabel-indicator":
            return "multilabel", self._labels_of_rows(y, trained), np.arange(y.shape[1])
        y = column_or_1d(y, warn=True)
        labels = self.classes_ if trained is not None else unique_labels(y if classes is None else classes)
        if classes is not None and not np.array_equal(labels, unique_labels(classes)):
            raise ValueError(
                f"classes={classes!r} is not the same as on the first call to partial_fit: {labels!r}"
            )
        if len(labels) < 2:
            raise ValueError(
                f"{type(self).__name__} needs rows of at least 2 classes, but y has 1 class: {labels}"
            )
        places = np.searchsorted(labels, y).clip(max=len(labels) - 1)
        if (unknown := labels[places] != y).any():
            raise ValueError(
                f"y has the label {y[unknown].tolist()[0]!r}, which is not one of the classes {labels}"
            )
        return "binary" if len(labels) == 2 else "multiclass", places.astype(np.int64), labels

    def _labels_of_rows(self, y: Array, trained: InputSchema | None) -> Array:
        """Return the targets (rows, labels) of multilabel."""
        if "multilabel" not in self.tasks:
            raise ValueError(
                f"{type(self).__name__} takes one label a row, not several; use MLPClassifier or "
                "scikit-learn's MultiOutputClassifier"
            )
        if trained is not None and len(trained.targets) != y.shape[1]:
            raise ValueError(
                f"y has {y.shape[1]} labels, but {type(self).__name__} has {len(trained.targets)}"
            )
        return y.astype(np.float32)

    def _class_weight(self, labels: Any) -> Any:
        weight = self.class_weight
        if weight is None or isinstance(weight, str):
            return weight
        if unknown := set(weight) - set(labels.tolist()):
            raise ValueError(
                f"class_weight: {sorted(unknown, key=str)[0]!r} is not one of the classes {labels}"
            )
        return [float(weight.get(label, 1.0)) for label in labels.tolist()]

    def _keep_labels(self, labels: Any) -> None:
        self.classes_ = labels

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = "multilabel" in self.tasks
        return tags


class Regressor(RegressorMixin, MlpkitEstimator):  # type: ignore[misc]
    """A regressor."""

    tasks = ("regression",)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the model.

        Args:
            X: (rows, features) numbers, or a DataFrame, whose columns may also be strings, categories, dates
                and booleans.
            y: (rows,) or (rows, targets) numbers.
            sample_weight: (rows,) how much each row counts in the loss; None: all the same.

        Raises:
            ValueError: a parameter is wrong, the rows cannot be used, or training diverged.
        """
        return self._fit(X, y, sample_weight)

    @available_if(takes_steps)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch on some rows, from where training was; scaling and encoding stay as they were.

        Args:
            X: as in `fit`.
            y: as in `fit`.
            sample_weight: as in `fit`.

        Raises:
            ValueError: as in `fit`.
        """
        return self._fit(X, y, sample_weight, is_partial=True)

    def predict(self, X: Any) -> Array:
        """Return the value of each row, (rows,) or (rows, targets)."""
        values = self._outputs(X).numpy()
        return values[:, 0] if self.n_outputs_ == 1 else values

    def _encode_targets(
        self, y: Any, trained: InputSchema | None, classes: Any, precision: str
    ) -> tuple[str, Array, Any]:
        if y.ndim == 1 or y.shape[1] == 1:
            y = column_or_1d(y, warn=True)[:, None]
        if trained is not None and len(trained.targets) != y.shape[1]:
            raise ValueError(
                f"y has {y.shape[1]} targets, but {type(self).__name__} has {len(trained.targets)}"
            )
        return "regression", y.astype(precision), None

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
