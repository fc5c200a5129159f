"""Ensembles: the predictions of several models, averaged."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mlpkit.analysis.predict import Predictor
from mlpkit.errors import ConfigError


def one_of(members: Sequence[Predictor]) -> Predictor:
    """Return an ensemble of several models, or the only one."""
    return Ensemble(members) if len(members) > 1 else members[0]


class Ensemble(Predictor):
    """Several models of the same inputs, which predict the mean of their probabilities or values."""

    def __init__(self, members: Sequence[Predictor]) -> None:
        """Take the members.

        Raises:
            ConfigError: their input schemas differ.
        """
        first = members[0]
        if any(member.input_schema != first.input_schema for member in members):
            raise ConfigError(
                "--ensemble: the runs read their inputs in different ways, as those of different folds do; "
                "train runs that differ in their seed alone"
            )
        super().__init__(
            first.network,
            first.input_schema,
            first.loss,
            first.device,
            metrics=first.metrics,
            task=first.task,
            class_weights=first.class_weights,
        )
        self.members = members

    def outputs(self, inputs: Tensor) -> Tensor:
        """See `Predictor.outputs`."""
        return self.task.average(torch.stack([member.outputs(inputs) for member in self.members]))

    def losses(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """See `Predictor.losses`; the targets are scaled as in the first member."""
        outputs = self.network.before_unscaling(self.outputs(inputs).to(self.device)).cpu()
        return self.loss.per_example(outputs, self.network.standardize(targets.to(self.device)).cpu())
