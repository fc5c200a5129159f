"""Loads the best or the last weights of a run."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mlpkit.folders.checkpoint import Checkpoint, load_first
from mlpkit.folders.find_run import find_checkpoints
from mlpkit.folders.trust import Trust


def load_run(
    path: Path,
    which: str,
    warn: Callable[[str], None],
    parts: Sequence[str] = ("model",),
    trust: Trust = Trust.FOREIGN,
) -> tuple[Path, Checkpoint]:
    """Return the path and the content of a run's first checkpoint that can be loaded, or of a checkpoint.

    The newest checkpoint holds the best weights as well: they are taken from there if `best` is damaged or
    the run has one file.

    Args:
        path: a run folder or a checkpoint file.
        which: best or last, for a folder.
        warn: called with a line for each damaged checkpoint.
        parts: the kinds of tensors to load; of the best weights there is `model` alone.
        trust: see `mlpkit.folders.checkpoint.load`.

    Raises:
        DataError: there is no run, or it has no checkpoint that can be loaded.
    """
    at_best = which == "best" and path.is_dir()
    return load_first(find_checkpoints(path, which), warn, parts, trust, at_best)
