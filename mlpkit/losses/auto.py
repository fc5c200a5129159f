"""The default loss of the task."""

from typing import Literal

from mlpkit.config.loss import LossConfig
from mlpkit.config.registry import choice, choices

LOSS_OF_TASK = {
    "regression": "mse",
    "binary": "binary_cross_entropy",
    "multiclass": "cross_entropy",
    "multilabel": "binary_cross_entropy",
}


@choice("loss")
class Auto(LossConfig):
    """The task's: mse, binary_cross_entropy or cross_entropy."""

    name: Literal["auto"]

    def for_task(self, task: str) -> LossConfig:
        """See `LossConfig.for_task`."""
        name = LOSS_OF_TASK[task]
        loss = choices("loss")[name].model_validate({"name": name})
        assert isinstance(loss, LossConfig)
        return loss
