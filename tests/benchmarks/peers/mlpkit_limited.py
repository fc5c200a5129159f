"""mlpkit, as `mlpkit_training`, in a control group that limits its memory."""

from collections.abc import Callable
from pathlib import Path

from larger_than_memory import join
from workload import Trained

from peers import mlpkit_training


def prepare(overrides: tuple[str, ...]) -> Callable[[], Trained]:
    """See `peers`; the first of the overrides is the folder of the group."""
    join(Path(overrides[0]))
    return mlpkit_training.prepare(overrides[1:])
