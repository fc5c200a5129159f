"""What the processes of jobs are forked with: loaded once, by a process that starts no thread and no job."""

import atexit
import gc
import os
from importlib import import_module

LOADED = (
    "torch._dynamo",  # which an optimizer of torch's own loads, and what that loads
    "torch.utils._device",
    "numpy.random",
    "sklearn.datasets",
    "mlpkit.data.images",
    "mlpkit.data.synthetic",
    "mlpkit.data.tables",
    "mlpkit.engines.choose",
    "mlpkit.sweep.processes",
    "mlpkit.tensorboard",
)

# numpy and scipy would begin their threads while they load, and a process that forks should have none.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
for name in LOADED:
    import_module(name)
gc.freeze()  # what all processes share is no garbage: to look through it would copy it
atexit.register(os._exit, 0)  # as in `mlpkit.__main__`; some libraries print what they leave behind
