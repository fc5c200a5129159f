"""The trials of a search that are trained at once."""

from dataclasses import dataclass, field

from optuna.trial import Trial

from mlpkit.sweeps.ledger import JobRecord


@dataclass
class Batch:
    """Trials that are trained at once, by number.

    Attributes:
        trials: Optuna's trials.
        entries: for each trial with a valid config, its jobs, one per seed; if an earlier trial had the same
            configs, that trial's jobs.
        failed: errors due to the settings, such as a loss that is not finite.
        broken: other errors, by the number of the job.
    """

    trials: dict[int, Trial]
    entries: dict[int, list[JobRecord]] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    broken: dict[int, str] = field(default_factory=dict)
