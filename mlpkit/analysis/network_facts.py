"""Finds out what a network does on all training rows: dead units, and classes that it never predicts."""

from collections.abc import Sequence

import torch
from torch import nn

from mlpkit.analysis.evidence import NetworkFacts
from mlpkit.data.dataset import Dataset
from mlpkit.engines.device_data import EVALUATION_ROWS
from mlpkit.models.torch_network import Network
from mlpkit.tasks import Task


def find_facts(networks: Sequence[Network], task: Task, dataset: Dataset) -> NetworkFacts:
    """Return what a model does on all training rows.

    The rows go through in blocks, until each unit has been above 0 and each class predicted: with a healthy
    network after a block or two.

    Args:
        networks: with the weights to look at; they are put into evaluation mode. Of several, the mean is
            predicted, and the dead units are those of the first.
        task: of the dataset.
        dataset: has the training rows.
    """
    train, device = dataset.splits["train"], next(networks[0].parameters()).device
    classes = dataset.input_schema.classes
    missing = set(train.targets.flatten().tolist()) if classes else set()
    alive: list[torch.Tensor] = []
    with torch.no_grad():
        for rows in torch.split(train.inputs, EVALUATION_ROWS):
            of_networks = [_run(network.eval(), rows.to(device, network.dtype)) for network in networks]
            found = [units.any(0) for units in of_networks[0][1]]
            alive = [units | before for units, before in zip(found, alive or found, strict=True)]
            if missing:
                outputs = [each for each, _ in of_networks]
                mean = outputs[0] if len(outputs) == 1 else task.average(torch.stack(outputs))
                missing -= set(task.decode(mean).flatten().tolist())
            if not missing and all(bool(units.all()) for units in alive):
                break
    dead = [
        (f"hidden layer {place}", int((~units).sum()), len(units))
        for place, units in enumerate(alive, start=1)
    ]
    return NetworkFacts(
        tuple(layer for layer in dead if layer[1]), tuple(classes[int(label)] for label in sorted(missing))
    )


def _run(network: Network, rows: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return the predictions (rows, width), and which units (rows, units) of each ReLU layer are above 0."""
    values, above = network.scaling(rows), []
    for layer in network.layers:
        values = layer(values)
        if isinstance(layer, nn.ReLU):
            above.append(values > 0)
    return network.predictions(values), above
