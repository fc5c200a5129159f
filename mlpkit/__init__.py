"""mlpkit: train linear, logistic and multilayer-perceptron models from composable configs."""

__version__ = "0.1.0"
