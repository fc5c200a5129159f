"""The trained networks of an estimator, which are pickled as checkpoints."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from mlpkit.analysis.predict import Predictor, make_predictor, one_of
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.raw_inputs import missing_texts
from mlpkit.folders.checkpoint import Checkpoint
from mlpkit.system.device import choose_device
from mlpkit.system.torch_settings import torch_settings_kept
from mlpkit.tasks import TASKS, Task


class Members:
    """One network or several, whose probabilities or values are averaged.

    Attributes:
        checkpoints: the members' checkpoints, with their weights and the optimizer's tensors.
        device: auto, cpu, cuda or cuda:N.
    """

    def __init__(self, checkpoints: Sequence[Checkpoint], device: str) -> None:
        """Take the checkpoints."""
        self.checkpoints, self.device = tuple(checkpoints), device

    @property
    def schema(self) -> InputSchema:
        """The input schema of all members."""
        return self.checkpoints[0].input_schema

    @property
    def missing(self) -> tuple[str, ...]:
        """The texts that stand for a missing value in raw rows."""
        return missing_texts(self.checkpoints[0].config.dataset)

    @property
    def precision(self) -> str:
        """The number format of all members: float32 or float64."""
        return self.checkpoints[0].config.trainer.precision

    @property
    def task(self) -> Task:
        """The task of all members."""
        return TASKS[self.schema.task]

    @cached_property
    def predictor(self) -> Predictor:
        """The networks, ready to predict."""
        with torch_settings_kept():
            device = choose_device(self.device)
            members = [make_predictor(checkpoint, device) for checkpoint in self.checkpoints]
            return one_of(members)

    def outputs(self, inputs: Tensor) -> Tensor:
        """Return the outputs (rows, width) for encoded inputs (rows, features)."""
        return self.predictor.outputs(inputs)

    def __getstate__(self) -> dict[str, object]:
        """Return what is pickled."""
        return {"checkpoints": self.checkpoints, "device": self.device}

    def linear(self) -> tuple[Tensor, Tensor]:
        """Return the mean coefficients (width, features) and intercepts (width,) of linear members, float64.

        They are those of the features before the first layer standardises them, and of targets in their unit.
        """
        found = []
        for checkpoint in self.checkpoints:
            model = {name: tensor.double() for name, tensor in checkpoint.state.model.items()}
            weight = model["layers.0.weight"]
            bias = model.get("layers.0.bias", torch.zeros(len(weight), dtype=torch.float64))
            if "scaling.mean" in model:
                weight = weight / model["scaling.std"]
                bias = bias - weight @ model["scaling.mean"]
            if "unscaling.mean" in model:
                weight, bias = weight * model["unscaling.std"][:, None], bias * model["unscaling.std"]
                bias = bias + model["unscaling.mean"]
            found.append((weight / checkpoint.temperature, bias / checkpoint.temperature))
        weights, biases = zip(*found, strict=True)
        return torch.stack(weights).mean(0), torch.stack(biases).mean(0)
