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
    missing = set(train.targets.unique().tolist()) if classes else set()
    alive: dict[str, torch.Tensor] = {}
    network.eval()
    with torch.no_grad():
        for rows in torch.split(train.inputs, EVALUATION_ROWS):
            values = network.scaling(rows.to(device, network.dtype))
            for name, layer in network.layers.named_children():
                values = layer(values)
                if isinstance(layer, nn.ReLU):
                    active = (values > 0).any(0)
                    alive[name] = active | alive.get(name, active)
            if missing:
                missing -= set(task.decode(network.unscaling(values)).unique().tolist())
            if not missing and all(bool(units.all()) for units in alive.values()):
                break
    dead = ((f"layers.{name}", int((~units).sum()), len(units)) for name, units in alive.items())
    return NetworkFacts(
        tuple(found for found in dead if found[1]), tuple(classes[int(label)] for label in sorted(missing))
    )
