"""Trains the jobs of a sweep one after another, as `mlpkit train` would; prints their seconds of training."""

import json
import sys

from mlpkit.cli.compose import Request
from mlpkit.cli.plan import plan
from mlpkit.folders.origin import Origin
from mlpkit.folders.trust import Trust
from mlpkit.system.console import make_console
from mlpkit.training.start import run

seconds = 0.0
for job in plan(Request((*sys.argv[1:], "run.plots=false", "run.progress=none"))).jobs:
    folder = run(job.config, Origin("mlpkit train", Trust.OWN), make_console(), print)
    seconds += json.loads(folder.summary.read_text())["train_seconds"]
print(seconds)
