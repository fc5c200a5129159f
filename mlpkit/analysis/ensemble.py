"""Ensembles: the predictions of several models, averaged."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mlpkit.analysis.predict import Predictor
from mlpkit.errors import ConfigError
from mlpkit.tasks import Task


def average_outputs(task: Task, outputs: Tensor) -> Tensor:
    """Return the outputs (rows, width) of an ensemble: of the mean probabilities, or the mean values.

    Args:
        task: of the models.
        outputs: (members, rows, width), raw: logits, or values for a regression.
    """
    if len(outputs) == 1:
        return outputs[0]
    if task.probabilities is None:
        return outputs.mean(0)
    if task.name == "multiclass":
        return outputs.log_softmax(-1).logsumexp(0) - math.log(len(outputs))
    # The logit of the mean of p is log Σp - log Σ(1 - p), without the rounding of p near 0 and 1.
    return logsigmoid(outputs).logsumexp(0) - logsigmoid(-outputs).logsumexp(0)


class Ensemble(Predictor):
    """Several models of the same inputs; predicts the mean of their probabilities, or of their values."""

    def __init__(self, members: Sequence[Predictor]) -> None:
        """Take the members.

        Raises:
            ConfigError: they read other inputs, or are of other tasks.
        """
        first = members[0]
        if any(member.input_schema != first.input_schema for member in members):
            raise ConfigError(
                "--ensemble: the runs read their inputs in different ways, as those of different folds do; "
                "train runs that differ in their seed alone"
            )
        super().__init__(
            *(first.network, first.input_schema, first.loss, first.device),
            metrics=first.metrics,
            task=first.task,
            class_weights=first.class_weights,
        )
        self.members = members

    def outputs(self, inputs: Tensor) -> Tensor:
        """See `Predictor.outputs`."""
        return average_outputs(self.task, torch.stack([member.outputs(inputs) for member in self.members]))

    def losses(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """See `Predictor.losses`; targets are scaled as those of the first member."""
        outputs = self.network.before_unscaling(self.outputs(inputs).to(self.device)).cpu()
        return self.loss.per_example(outputs, self.network.standardize(targets.to(self.device)).cpu())
