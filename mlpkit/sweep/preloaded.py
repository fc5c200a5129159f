# ruff: noqa: F401  (what is loaded here is loaded for others)
"""What the processes of jobs are forked with: loaded once, by a process that starts no thread and no job."""

import atexit
import gc
import os

# numpy and scipy would begin their threads while they load, and a process that forks should have none.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy.random
import sklearn.datasets
import torch._dynamo  # which an optimizer of torch's own loads, and what that loads
import torch.utils._device

import mlpkit.data.images
import mlpkit.data.tables
import mlpkit.engines.choose
import mlpkit.sweep.processes
import mlpkit.system.event_file

gc.freeze()  # what all processes share is no garbage: to look through it would copy it
atexit.register(os._exit, 0)  # as in `mlpkit.__main__`; some libraries print what they leave behind
