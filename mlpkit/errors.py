"""Errors that a user can act on: one line each, with the exit code of the command line."""


class MlpkitError(Exception):
    """Base class: shown without a traceback, one line for each problem. Each argument is one problem."""

    exit_code = 1

    def __str__(self) -> str:
        """Return the problems, one per line."""
        return "\n".join(str(problem) for problem in self.args)


class ConfigError(MlpkitError):
    """The command line or a config is wrong."""

    exit_code = 2


class DataError(MlpkitError):
    """A data file, a checkpoint or a run folder cannot be used."""

    exit_code = 65


class NonFiniteError(MlpkitError):
    """Training produced a loss, a gradient or a weight that is NaN or infinite."""

    exit_code = 65


def reason_of(error: BaseException) -> str:
    """Return what an error says; where it is not one of these, its kind and its first line."""
    if isinstance(error, MlpkitError):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def diverged(step: int, epoch: int, what: str) -> NonFiniteError:
    """Return the error for training that produced NaN or infinity; step and epoch count from one."""
    return NonFiniteError(
        f"step {step} (epoch {epoch}): {what}: training diverged; "
        "try a lower optimizer.lr or set trainer.clip_norm=1"
    )


class WriteError(MlpkitError):
    """A file could not be written."""

    exit_code = 74


class TrackerError(WriteError):
    """A tracker, such as an MLflow server, cannot be used; a run goes on without it."""


class RunInterruptedError(MlpkitError):
    """A signal asked the run to stop, and the run has saved a checkpoint."""

    def __init__(self, signal_number: int, *problems: str) -> None:
        """Set the exit code as a shell does: 128 + signal number, such as 143 for SIGTERM."""
        super().__init__(*problems)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number

    def with_place(self, place: str) -> "RunInterruptedError":
        """Return the error that says where the run was interrupted, and how to resume it."""
        return RunInterruptedError(self.signal_number, place)


class LostProcessError(RunInterruptedError):
    """Another process of a training over several has ended; the run has saved a checkpoint."""

    def __init__(self, what: str) -> None:
        """Say what has happened to it."""
        super().__init__(0, what)
        self.exit_code = 1

    def with_place(self, place: str) -> RunInterruptedError:
        """See `RunInterruptedError.with_place`."""
        return LostProcessError(f"{self}; {place}")


class JobsFailedError(MlpkitError):
    """Some runs of a sweep failed; the others are done."""


class LockedError(MlpkitError):
    """Another process is writing to the run folder."""

    exit_code = 75
