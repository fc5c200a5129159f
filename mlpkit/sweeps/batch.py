"""The trials of a search that are trained at once."""

from dataclasses import dataclass, field

from optuna.trial import Trial

from mlpkit.sweeps.ledger import JobRecord


@dataclass
class Batch:
    """Trials that are trained at once, by number.

    Attributes:
        trials: Optuna's trials.
        entries: the jobs of each trial with a valid config, one for each seed; an earlier trial's jobs if the
            configs are the same.
        failed: errors due to the settings, such as a loss that is not finite.
        broken: other errors.
    """

    trials: dict[int, Trial]
    entries: dict[int, list[JobRecord]] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    broken: dict[int, str] = field(default_factory=dict)
