"""mlpkit's models as scikit-learn estimators.

    from mlpkit.sklearn import MLPClassifier, MLPRegressor, LogisticRegression, LinearRegression

Parameters that mean the same as scikit-learn's have its names, and others have mlpkit's. Unlike
scikit-learn's, the models standardise their inputs (and regression targets) themselves, and read DataFrames
with strings, categories, dates and missing values.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mlpkit.training.estimator_tasks import Classifier, Regressor

__all__ = ["LinearRegression", "LogisticRegression", "MLPClassifier", "MLPRegressor"]

Choice = str | Mapping[str, Any]  # a name, or a name and options such as {"name": "cosine", "eta_min": 1e-5}
Seed = Any  # an int, a numpy RandomState or None


def keep(estimator: Any, given: Mapping[str, Any]) -> None:
    """Set the parameters of a constructor as attributes."""
    vars(estimator).update(
        (name, value) for name, value in given.items() if name not in ("self", "__class__")
    )


class MLPClassifier(Classifier):
    """Multilayer perceptron that classifies: two classes, several, or several labels a row.

    Args:
        hidden_layer_sizes: widths of the hidden layers.
        activation: relu, tanh, logistic, identity, or one of mlpkit's: leaky_relu, prelu, elu, gelu, silu,
            mish, selu, softplus.
        solver: adam, adamw or sgd, or nadam, rmsprop, lion or muon, some with smaller learning rates; lbfgs
            for few rows, whose iterations max_iter counts.
        alpha: L2 penalty; as in scikit-learn it is divided by the rows of a batch.
        batch_size: rows of a batch; auto: 200, or all if there are fewer; None: all.
        learning_rate_init: learning rate.
        max_iter: most epochs.
        random_state: seed of weights, order of rows, dropout and validation rows; None: another at each fit.
        tol: a smaller change of the training loss (with early_stopping: of the validation score) is no
            improvement.
        warm_start: whether `fit` goes on from the weights of the last fit.
        momentum: of sgd.
        nesterovs_momentum: whether sgd uses Nesterov's momentum.
        early_stopping: whether to hold rows out, stop by their score and keep the weights of the best epoch.
        validation_fraction: share of the rows that early_stopping holds out.
        beta_1: decay of adam's average of the gradient.
        beta_2: decay of adam's average of the squared gradient.
        epsilon: added to adam's denominator.
        n_iter_no_change: epochs without improvement after which training ends; None: it never does.
        class_weight: balanced, or a weight for each label, 1 where it has none; None: all the same.
        loss: log_loss, focal, or another of mlpkit's losses for the task.
        dropout: share of hidden units dropped in training.
        norm: none, batch or layer, in front of the activation.
        clip_norm: largest norm of the gradient; None: no limit.
        schedule: schedule of the learning rate: none, cosine, wsd, step, plateau and others of mlpkit's.
        init: first weights: xavier_uniform, kaiming_normal, default (PyTorch's) and others of mlpkit's.
        standardize: whether the model standardises its inputs, by the training rows.
        n_members: number of networks, trained together with the seeds random_state, random_state + 1, …; the
            mean of their probabilities is predicted.
        precision: float32 (about twice as fast) or float64; auto: that of X, as in scikit-learn.
        device: auto, cpu, cuda or cuda:N.
        threads: threads on a CPU; auto: as many as a step keeps busy.
    """

    model_name = "mlp"
    tasks = ("binary", "multiclass", "multilabel")

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] | int = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str | None = "auto",
        learning_rate_init: float = 0.001,
        max_iter: int = 200,
        random_state: Seed = None,
        tol: float = 1e-4,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int | None = 10,
        class_weight: Any = None,
        loss: Choice = "log_loss",
        dropout: float = 0.0,
        norm: str = "none",
        clip_norm: float | None = None,
        schedule: Choice = "none",
        init: Choice = "xavier_uniform",
        standardize: bool = True,
        n_members: int = 1,
        precision: str = "auto",
        device: str = "auto",
        threads: int | str = "auto",
    ) -> None:
        """Keep the parameters; `fit` checks them."""
        keep(self, locals())


class MLPRegressor(Regressor):
    """Multilayer perceptron for regression, of one target or several.

    Args: those of `MLPClassifier` without class_weight, and

        loss: squared_error, absolute_error, huber, poisson, quantile.
        standardize: whether the model standardises its inputs and targets, by the training rows.
        n_members: number of networks; the mean of their values is predicted.
    """

    model_name = "mlp"

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] | int = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str | None = "auto",
        learning_rate_init: float = 0.001,
        max_iter: int = 200,
        random_state: Seed = None,
        tol: float = 1e-4,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int | None = 10,
        loss: Choice = "squared_error",
        dropout: float = 0.0,
        norm: str = "none",
        clip_norm: float | None = None,
        schedule: Choice = "none",
        init: Choice = "xavier_uniform",
        standardize: bool = True,
        n_members: int = 1,
        precision: str = "auto",
        device: str = "auto",
        threads: int | str = "auto",
    ) -> None:
        """Keep the parameters; `fit` checks them."""
        keep(self, locals())


class LogisticRegression(Classifier):
    """Logistic regression, of two classes or multinomial.

    Args:
        C: inverse of the L2 penalty, as in scikit-learn; it is on the weights of standardised inputs.
        solver: lbfgs (scikit-learn's, which finds the minimum), or adam, adamw or sgd: for `partial_fit`,
            many rows and CUDA.
        fit_intercept: whether there is an intercept.
        tol: of lbfgs, the largest entry of the gradient at the end; else see `MLPClassifier`.
        max_iter: most iterations, or epochs.
        class_weight: see `MLPClassifier`, as for all others.
    """

    model_name = "logistic"

    def __init__(
        self,
        *,
        C: float = 1.0,
        solver: str = "lbfgs",
        fit_intercept: bool = True,
        tol: float = 1e-6,
        max_iter: int = 1000,
        class_weight: Any = None,
        random_state: Seed = None,
        warm_start: bool = False,
        batch_size: int | str | None = "auto",
        learning_rate_init: float = 0.01,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int | None = 10,
        clip_norm: float | None = None,
        schedule: Choice = "none",
        standardize: bool = True,
        precision: str = "auto",
        device: str = "auto",
        threads: int | str = "auto",
    ) -> None:
        """Keep the parameters; `fit` checks them."""
        keep(self, locals())

    def decision_function(self, X: Any) -> Any:
        """Return the logits of each row: (rows,) for two classes, else (rows, classes)."""
        outputs = self._outputs(X).numpy()
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    @property
    def coef_(self) -> Any:
        """The coefficients of the features in their own units, (1, features) or (classes, features)."""
        return self._linear()[0]

    @property
    def intercept_(self) -> Any:
        """The intercepts, (1,) or (classes,)."""
        return self._linear()[1]


class LinearRegression(Regressor):
    """Linear regression, of one target or several.

    Args:
        fit_intercept: whether there is an intercept.
        solver: exact (scikit-learn's least squares), or adam, adamw or sgd: for `partial_fit`, many rows and
            CUDA.
        loss: of the other solvers; see `MLPRegressor`, as for all others.
        standardize: whether the other solvers standardise inputs and targets; the exact one needs no scaling.
    """

    model_name = "linear"

    def __init__(
        self,
        *,
        fit_intercept: bool = True,
        solver: str = "exact",
        loss: Choice = "squared_error",
        tol: float = 1e-6,
        max_iter: int = 1000,
        random_state: Seed = None,
        warm_start: bool = False,
        batch_size: int | str | None = "auto",
        learning_rate_init: float = 0.01,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int | None = 10,
        clip_norm: float | None = None,
        schedule: Choice = "none",
        standardize: bool = True,
        precision: str = "auto",
        device: str = "auto",
        threads: int | str = "auto",
    ) -> None:
        """Keep the parameters; `fit` checks them."""
        keep(self, locals())

    @property
    def coef_(self) -> Any:
        """The coefficients of the features in their own units, (features,) or (targets, features)."""
        coefficients = self._linear()[0]
        return coefficients[0] if self.n_outputs_ == 1 else coefficients

    @property
    def intercept_(self) -> Any:
        """The intercept, or (targets,) for several targets."""
        intercepts = self._linear()[1]
        return float(intercepts[0]) if self.n_outputs_ == 1 else intercepts
