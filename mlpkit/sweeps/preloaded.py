# ruff: noqa: F401  (imported for the processes that are forked)
"""Imported once by the fork server, so that job processes start with these modules loaded."""

import atexit
import gc
import os

# numpy, scipy and pyarrow (which scikit-learn imports with pandas, if that is installed) start threads when
# imported; a process that forks should have none.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["JE_ARROW_MALLOC_CONF"] = "background_thread:false"

import numpy.random
import sklearn.datasets
import torch._dynamo  # torch's own optimizers import it
import torch.utils._device

import mlpkit.data.images
import mlpkit.data.tables
import mlpkit.engines.choose
import mlpkit.sweeps.processes
import mlpkit.system.event_file

gc.freeze()  # a garbage collection in a job process would otherwise copy the shared memory pages
atexit.register(os._exit, 0)  # as in `mlpkit.__main__`: some libraries print at exit
