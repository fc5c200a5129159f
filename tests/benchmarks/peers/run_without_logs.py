"""The same run, silent, without TensorBoard, and with the last epoch's metrics only."""

from collections.abc import Callable

from workload import Trained

from peers.run_with_logs import EPOCHS, run_of

NO_LOGS = ("run.progress=none", "run.tensorboard=false", f"trainer.log_every={EPOCHS}")


def prepare(overrides: tuple[str, ...]) -> Callable[[], Trained]:
    """See `peers`."""
    return run_of((*overrides, *NO_LOGS))
