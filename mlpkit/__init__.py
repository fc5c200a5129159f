"""mlpkit: train linear, logistic and multilayer-perceptron models from composable configs."""

import os

__version__ = "0.1.0"

# Large tensors in huge pages: halves the time to load MNIST. Torch reads this at its first allocation.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
