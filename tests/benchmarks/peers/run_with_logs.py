"""A run of 1000 one-step epochs with TensorBoard, metrics.jsonl and the progress bar; counts epochs."""

import json
import os
import tempfile
from collections.abc import Callable

from rich.console import Console
from workload import Trained, config_of

from mlpkit.folders.origin import Origin
from mlpkit.folders.trust import Trust
from mlpkit.training.start import run

EPOCHS = 1000
LOGS = ("run.progress=bar", "run.tensorboard=true", "trainer.log_every=1")


def prepare(overrides: tuple[str, ...]) -> Callable[[], Trained]:
    """See `peers`."""
    return run_of((*overrides, *LOGS))


def run_of(overrides: tuple[str, ...]) -> Callable[[], Trained]:
    """Return what makes a whole run, its folder included, without pictures."""
    fixed = ("run.plots=false", f"trainer.epochs={EPOCHS}", "trainer.checkpoint_every=1000s")

    def train() -> Trained:
        with (
            tempfile.TemporaryDirectory() as root,
            open(os.devnull, "w") as nowhere,  # noqa: PTH123
        ):
            console = Console(file=nowhere, force_terminal=True, width=80)  # draws as for a terminal
            folder = run(
                config_of((*overrides, *fixed, f"run.root={root}")),
                Origin("bench", Trust.OWN),
                console,
                print,
            )
            summary = json.loads(folder.summary.read_text())
        return Trained(EPOCHS, summary["train"]["loss"])

    return train
