"""Models: stacks of layers between a first layer that scales inputs and a last that scales targets back."""

from mlpkit.models.build import Network, build_model, count_parameters

__all__ = ["Network", "build_model", "count_parameters"]
