"""The outputs of a mean prediction: of members that share weights, and of the views of an image."""

import torch
from torch import Tensor

from mlpkit.engines.device_data import DeviceData


def average_members(data: DeviceData, outputs: Tensor) -> Tensor:
    """Return the outputs (K, n, width) of the mean prediction, given the members' (K, M, n, width)."""
    each = outputs.movedim(-3, 0)
    if data.unscaling is None:
        return data.task.average(each)
    means = data.task.average(data.unscaling(each))
    if data.runs == 1:
        return data.networks[0].before_unscaling(means)
    pairs = zip(data.networks, means, strict=True)
    return torch.stack([network.before_unscaling(mean) for network, mean in pairs])


def average_all(data: DeviceData, outputs: Tensor) -> Tensor:
    """Return the outputs (K, n, width) of the mean prediction of n rows.

    Args:
        data: holds the networks.
        outputs: those of all views of the rows, (K, views · n, width), or (K, M, views · n, width) of M
            members that share weights.
    """
    first = data.networks[0]
    if first.views is not None:
        outputs = outputs.reshape(*outputs.shape[:-2], data.views, -1, outputs.shape[-1])
        if first.members:
            outputs = outputs.flatten(-4, -3)
    return average_members(data, outputs) if outputs_of_row(data) > 1 else outputs


def outputs_of_row(data: DeviceData) -> int:
    """Return the number of a row's outputs that `average_all` averages."""
    return (data.networks[0].members or 1) * data.views
