"""The splits on a device: what steps read and what scores are made of."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mlpkit.data.augment import Augmentation
from mlpkit.data.dataset import Split
from mlpkit.matmul import Matmul
from mlpkit.metrics import add_up
from mlpkit.models import Network
from mlpkit.tasks import Task

EVALUATION_ROWS = 8192  # rows of a forward pass without gradients


class DeviceData:
    """All splits, for the whole run, already scaled, so that a step indexes them and nothing else.

    Only with augmentation, which works on raw pixels, are training rows scaled at each step.

    Attributes:
        inputs: (rows, features) of each split.
        targets: of each split, in their own unit: what scores compare; see `Task.truth`.
        scaled: encoded by the task, in the unit of the layers' outputs: what the loss compares.
    """

    def __init__(
        self,
        network: Network,
        task: Task,
        splits: Mapping[str, Split],
        device: str,
        augmentation: Augmentation | None = None,
    ) -> None:
        """Move the splits to the device."""
        self.network, self.task, self.augmentation = network, task, augmentation
        dtype = next(network.parameters()).dtype
        self.inputs = {name: split.inputs.to(device, dtype) for name, split in splits.items()}
        encoded = {name: task.encode(split.targets.to(device), dtype) for name, split in splits.items()}
        self.targets = {name: task.truth(targets) for name, targets in encoded.items()}
        self.scaled = {name: network.standardize(targets) for name, targets in encoded.items()}
        with torch.no_grad():
            for name in self.inputs:
                if name != "train" or augmentation is None:
                    self.inputs[name] = network.scaling(self.inputs[name])

    def augment(self, inputs: Tensor, random: torch.Generator) -> Tensor:
        """Return scaled inputs of raw training rows, changed at random where the config says so."""
        if self.augmentation is None:
            return inputs
        with torch.no_grad():
            scaled: Tensor = self.network.scaling(self.augmentation(inputs, random))
        return scaled

    def evaluate(self, split: str, poll: Callable[[], None]) -> dict[str, float]:
        """Return the scores of a split; `poll` is called before each part of it."""
        network, inputs, scaled = self.network, self.inputs[split], self.scaled[split]
        if network.training:
            network.eval()
        losses, outputs = [], []
        with torch.inference_mode():
            if split == "train" and self.augmentation is not None:
                inputs = network.scaling(inputs)
            for start in range(0, len(inputs), EVALUATION_ROWS):
                poll()
                part = slice(start, start + EVALUATION_ROWS)
                outputs.append(network.layers(inputs[part]))
                losses.append(self.task.loss(outputs[-1], scaled[part]))
            return self.scores(joined(losses), joined(outputs), self.targets[split])

    def scores(self, losses: Tensor, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return the scores of rows by their losses (rows,), outputs and targets."""
        statistics = self.task.statistics(self.network.unscaling(outputs), targets)
        return self.task.scores(add_up(losses, statistics), len(losses))


class NetworkEngine:
    """What every engine does alike, since its network holds the weights.

    Attributes:
        network: whose weights are trained.
        data: the splits.
        matmul: how products are computed.
    """

    network: Network
    data: DeviceData
    matmul: Matmul

    def settle(self) -> None:
        """Raise what steps have found and not said yet: scores and weights are about to be read."""

    def evaluate(self, split: str, poll: Callable[[], None] = lambda: None) -> dict[str, float]:
        """See `Engine.evaluate`."""
        self.settle()
        with self.matmul.everywhere():
            return self.data.evaluate(split, poll)

    def model_state(self) -> dict[str, Tensor]:
        """See `Engine.model_state`."""
        self.settle()
        return {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}

    def load_model_state(self, state: dict[str, Tensor]) -> None:
        """See `Engine.load_model_state`."""
        self.network.load_state_dict(state)


def joined(parts: list[Tensor]) -> Tensor:
    """Return all rows of some parts; a single part is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)
