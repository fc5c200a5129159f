"""Finds which runs of a step have failed, and why."""

from torch import Tensor

from mlpkit.engines.batches import Rows
from mlpkit.engines.device_data import DeviceData
from mlpkit.engines.parameters import Flat


def not_finite(
    data: DeviceData, parameters: Flat, gradients: Tensor, rows: Rows, outputs: Tensor
) -> dict[int, str]:
    """Return for each failed run what is not finite: the loss, or the gradient of a parameter.

    Args:
        data: the runs' data.
        parameters: the runs' parameters.
        gradients: (K · P), their gradients.
        rows: the rows of the step.
        outputs: the outputs for these rows.
    """
    losses = data.losses(outputs.mT, "train", rows).view(data.runs, -1)
    found = {}
    for run in range(data.runs):
        if not bool(losses[run].isfinite().all()):
            found[run] = "the loss is not finite"
            continue
        of_run = parameters.of_run(gradients, run)
        bad = (name for name, gradient in of_run.items() if not bool(gradient.isfinite().all()))
        if name := next(bad, None):
            found[run] = f"the gradient of {name} is not finite"
    return found
