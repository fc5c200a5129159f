"""The keys that may have another value when a run is resumed."""

MAY_CHANGE = (
    "device",
    "trainer.epochs",
    "trainer.threads",
    "trainer.processes",
    "trainer.engine",
    "trainer.matmul",
    "trainer.compile",
    "trainer.time_limit",
    "trainer.checkpoint_every",
    "trainer.keep_last",
    "trainer.log_every",
    "run.loggers",
    "run.metrics",
    "run.histograms",
    "run.plots",
    "run.film",
    "run.progress",
)
OLD_KEYS = ("run.tensorboard",)  # the old name of run.loggers

# Settings that change only what follows a step: not the data, the model or the order of the rows.
AT_A_FORK = (
    "trainer.clip_norm",
    "trainer.clip_value",
    "trainer.early_stopping.patience",
    "trainer.early_stopping.min_delta",
    "trainer.early_stopping.min_delta_mode",
    "model.dropout",
)
_SECTIONS = ("optimizer", "scheduler", "run")


def may_change_at_a_fork(key: str) -> bool:
    """Whether the branches of a fork may have another value of a dotted key."""
    section = key.partition(".")[0]
    is_free = section in _SECTIONS and key not in ("optimizer", "optimizer.name")
    return is_free or key in (*MAY_CHANGE, *AT_A_FORK, "format")
