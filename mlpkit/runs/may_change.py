"""The keys that may have another value when a run is resumed."""

MAY_CHANGE = (
    "device",
    "trainer.epochs",
    "trainer.threads",
    "trainer.engine",
    "trainer.matmul",
    "trainer.compile",
    "trainer.time_limit",
    "trainer.checkpoint_every",
    "trainer.keep_last",
    "trainer.log_every",
    "run.loggers",
    "run.metrics",
    "run.plots",
    "run.progress",
)
OLD_KEYS = ("run.tensorboard",)  # the old name of run.loggers
