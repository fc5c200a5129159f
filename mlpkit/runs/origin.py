"""Where a run comes from: the command line that asked for it, and whose its config is."""

from dataclasses import dataclass

from mlpkit.runs.trust import Trust


@dataclass(frozen=True)
class Origin:
    """Where a run or a sweep comes from.

    Attributes:
        command: the command line, for the records.
        trust: whether the config is the user's own or foreign.
        overrides: the settings in the command line, for the records.
    """

    command: str
    trust: Trust
    overrides: tuple[str, ...] = ()
