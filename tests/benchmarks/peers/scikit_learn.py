"""scikit-learn's MLPClassifier, which goes on where it was (warm_start); no L2, as the others have none."""

import warnings
from collections.abc import Callable

from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from workload import Trained, load_workload


def prepare(overrides: tuple[str, ...]) -> Callable[[], Trained]:
    """See `peers`."""
    work = load_workload(overrides)
    inputs, targets = work.inputs.numpy(), work.targets.flatten().long().numpy()
    model = MLPClassifier(
        work.widths[1:-1],
        solver=work.config.optimizer.name,
        learning_rate_init=work.config.optimizer.lr,
        batch_size=work.batch_size,
        alpha=0.0,
        max_iter=work.epochs,
        n_iter_no_change=1_000_000,
        warm_start=True,
    )
    warnings.simplefilter("ignore", ConvergenceWarning)

    def train() -> Trained:
        model.fit(inputs, targets)
        return Trained(work.count, float(model.loss_))

    return train
