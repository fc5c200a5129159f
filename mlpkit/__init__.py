"""mlpkit: train linear, logistic and multilayer-perceptron models from composable configs."""

import os

__version__ = "0.1.0"

# Torch reads it when it first takes memory: large tensors in large pages, half the time to load MNIST.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
