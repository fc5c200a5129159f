"""Running the tool in tests: in this process for speed, or as a user would."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from faults.processes import run_forked

from mlpkit.cli.compose import Request, compose
from mlpkit.config import registry
from mlpkit.config.config import Config, parse, to_dict
from mlpkit.config.loss import LossConfig
from mlpkit.folders import checkpoint
from mlpkit.folders.origin import Origin
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.trust import Trust
from mlpkit.system.console import make_console
from mlpkit.training.start import run

TRAIN = Origin("mlpkit train", Trust.OWN)
QUIET = ("run.progress=none",)


def dataset_of_loss(name: str) -> str:
    """Return a small dataset that a loss is for."""
    schema = registry.choices("loss")[name]
    assert issubclass(schema, LossConfig)
    if schema.log_link:
        return "diabetes"  # whose targets are positive
    datasets = {"binary": "moons", "regression": "line", "multiclass": "digits"}
    return next(dataset for task, dataset in datasets.items() if task in schema.tasks)


def config(*overrides: str) -> Config:
    """Return the validated config of some overrides."""
    return parse(compose(Request(overrides)))


def train(root: Path, *overrides: str) -> RunFolder:
    """Train in this process and return the run folder."""
    return run(config(f"run.root={root}", *QUIET, *overrides), TRAIN, make_console(), print)


def content(path: Path) -> dict[str, Any]:
    """Return all that a checkpoint holds, tensors to the bit, but for the seconds that training took."""
    stored = checkpoint.load(path, checkpoint.KINDS)
    progress = {**stored.state.progress.to_dict(), "seconds": None}
    tensors = {
        name: (str(tensor.dtype), list(tensor.shape), tensor.numpy().tobytes())
        for name, tensor in stored.state.tensors().items()
    }
    about = to_dict(stored.config), stored.input_schema, stored.fingerprint
    return {"about": about, "progress": progress, "scores": stored.state.scores, "tensors": tensors}


def mlpkit(
    *arguments: str, cwd: Path, check: bool = True, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own: a forked one, or with variables a fresh one."""
    if not environment:
        done = run_forked(cwd, *arguments, stdin=stdin)
    else:
        done = subprocess.run(
            [sys.executable, "-m", "mlpkit", *arguments],
            cwd=cwd,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, **environment},
        )
    if check:
        assert done.returncode == 0, done.stderr
    return done
