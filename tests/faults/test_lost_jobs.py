"""A run that kills every process that trains it is found among those of its job, and fails alone."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from faults.launched import SWEEP
from faults.processes import start_fresh
from mlpkit.sweeps.ledger import DONE, FAILED

pytestmark = pytest.mark.long

KILLER = '''\
"""A model that a job's process cannot build: it is killed, as where memory runs out."""

import os
import signal
from multiprocessing import parent_process
from typing import Literal

from mlpkit.config.model import ModelConfig
from mlpkit.config.registry import choice


@choice("model")
class Killer(ModelConfig):
    name: Literal["killer"]
    number: int = 0

    def build(self, features, width):
        from torch import nn

        if self.number == 3 and parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return nn.Linear(features, width)
'''


def test_a_run_that_kills_its_process_is_found_by_halves(tmp_path: Path) -> None:
    (tmp_path / "killer.py").write_text(KILLER)
    swept = ("model=killer", "model.number=range(6)", "trainer.epochs=5")
    options = ("--plugin=killer.py", "--launcher=processes", "--runs-per-job=6")
    running = start_fresh(tmp_path, "train", "-m", f"run.dir={SWEEP}", "dataset=moons", *swept, *options)
    assert running.wait() == 1
    killed = "killed by SIGKILL, which the system sends where memory runs out"
    failed, last = running.stderr().splitlines()
    assert failed.startswith("mlpkit: 0003-") and failed.endswith(f" (model.number=3): {killed}"), failed
    assert last.startswith("mlpkit: 1 of 6 runs failed; to try them again: "), last
    with closing(sqlite3.connect(tmp_path / SWEEP / "ledger.sqlite")) as ledger:
        statuses = [status for (status,) in ledger.execute("SELECT status FROM jobs ORDER BY number")]
    assert statuses == [DONE] * 3 + [FAILED] + [DONE] * 2
