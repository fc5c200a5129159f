"""mlpkit: train linear, logistic and multilayer-perceptron models from composable configs."""

import os
from typing import TYPE_CHECKING, Any

from mlpkit.version import __version__ as __version__

if TYPE_CHECKING:
    from mlpkit.api import Leaderboard, MlpkitError, Model, Run, Sweep, Table, load, runs, sweep, train

__all__ = ["Leaderboard", "MlpkitError", "Model", "Run", "Sweep", "Table", "load", "runs", "sweep", "train"]

# Large tensors in huge pages: halves the time to load MNIST. Torch reads this at its first allocation.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def __getattr__(name: str) -> Any:
    """Import the Python API when it is first used: it needs torch, which most commands do without."""
    if name not in __all__:
        raise AttributeError(f"module 'mlpkit' has no attribute {name!r}")
    from mlpkit import api

    return getattr(api, name)


def __dir__() -> list[str]:
    """Return the names that `import mlpkit` offers."""
    return sorted([*__all__, "__version__"])
