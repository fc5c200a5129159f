"""Finds out what a network does on all training rows: dead units, and classes that it never predicts."""

import torch
from torch import nn

from mlpkit.analysis.evidence import NetworkFacts
from mlpkit.data.dataset import Dataset
from mlpkit.engines.device_data import EVALUATION_ROWS
from mlpkit.models.torch_network import Network
from mlpkit.tasks import Task


def find_facts(network: Network, task: Task, dataset: Dataset) -> NetworkFacts:
    """Return what the network does on all training rows.

    The rows go through in blocks, until each unit has been above 0 and each class predicted: with a healthy
    network after a block or two.

    Args:
        network: with the weights to look at; it is put into evaluation mode.
        task: of the dataset.
        dataset: has the training rows.
    """
    train, device = dataset.splits["train"], next(network.parameters()).device
    classes = dataset.input_schema.classes
    missing = set(train.targets.flatten().tolist()) if classes else set()
    alive: list[torch.Tensor] = []
    network.eval()
    with torch.no_grad():
        for rows in torch.split(train.inputs, EVALUATION_ROWS):
            values = network.scaling(rows.to(device, network.dtype))
            found = []
            for layer in network.layers:
                values = layer(values)
                if isinstance(layer, nn.ReLU):
                    found.append((values > 0).any(0))
            alive = [units | before for units, before in zip(found, alive or found, strict=True)]
            if missing:
                missing -= set(task.decode(network.predictions(values)).flatten().tolist())
            if not missing and all(bool(units.all()) for units in alive):
                break
    dead = [
        (f"hidden layer {place}", int((~units).sum()), len(units))
        for place, units in enumerate(alive, start=1)
    ]
    return NetworkFacts(
        tuple(layer for layer in dead if layer[1]), tuple(classes[int(label)] for label in sorted(missing))
    )
