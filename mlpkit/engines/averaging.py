"""How averages of the weights follow the weights, as functions of the step."""

from collections.abc import Callable

from mlpkit.config.run import TrainerConfig

# (epochs before this one, steps before this one) -> how far the averages move to the weights after the step
Share = Callable[[int, int], float]


def averaging_of(trainer: TrainerConfig, per_epoch: int) -> Share | None:
    """Return how far the averages move towards the weights after each step; None without averages.

    Both are averages of torch.optim.swa_utils.AveragedModel, updated after each step or each epoch:

    - `trainer.ema`: get_ema_multi_avg_fn(decay): the weights after the first step, then
      decay · averages + (1 - decay) · weights;
    - `trainer.swa`: the mean of the weights at the end of each epoch from the first that is averaged on
      (Izmailov et al. 2018). Until then the averages are the weights.

    Args:
        trainer: the config's section.
        per_epoch: steps in an epoch.
    """
    decay, before = trainer.ema, trainer.before_swa
    if decay is not None:
        return lambda epoch, step: 1.0 if step == 0 else 1 - decay

    def share(epoch: int, step: int) -> float:
        averaged = epoch - before  # epochs whose weights are in the mean
        if averaged <= 0:
            return 1.0
        return 1 / (averaged + 1) if (step + 1) % per_epoch == 0 else 0.0

    return None if trainer.swa is None else share
