"""The only file of a run with run.files=minimal: its newest checkpoint, with all else in the header."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from mlpkit.engines.experiment import Experiment
from mlpkit.errors import WriteError
from mlpkit.folders import checkpoint
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_record import COMMANDS, ENVIRONMENT, SUMMARY
from mlpkit.folders.state import KINDS, State
from mlpkit.folders.trust import Trust
from mlpkit.system.plain_json import finite, write_json
from mlpkit.training.checkpoint_files import CheckpointFiles, check_finite, checkpoint_of


class OneFile(CheckpointFiles):
    """Writes a run's only file. A run that failed, was interrupted or is resumed has a few more.

    Attributes:
        commands: the command lines that started and resumed the run.
    """

    commands: Sequence[str] = ()

    def __init__(self, experiment: Experiment, folder: RunFolder) -> None:
        """Take a run, of which nothing has been saved yet."""
        super().__init__(experiment, folder)
        self._at_end: State | None = None  # written with the summary: writing twice would take twice as long

    def resume(self, state: State) -> None:
        """Go on from a checkpoint."""
        self.last_step = state.progress.step

    def save(self, state: State, at_end: bool = False) -> None:
        """Save the state, which holds the best weights as well; at the end with the summary.

        Raises:
            WriteError: it cannot be written.
            NonFiniteError: the state holds infinities or NaN.
        """
        check_finite(state)
        if at_end:
            self._at_end = state
        else:
            self._write(state)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write the last state and the summary, and remove all other files.

        Raises:
            WriteError: the file cannot be written, or another one not removed.
        """
        if self._at_end is None:  # the run ended where it was resumed
            self._at_end = checkpoint.load(self.folder.last, KINDS, Trust.LARGE).state
        self._write(self._at_end, {SUMMARY: finite(dict(summary))})
        self._at_end = None
        self.folder.keep_one_file()

    def write_failure(self, summary: Mapping[str, Any]) -> None:
        """Write config.yaml and summary.json: there may be no checkpoint to write them into.

        Raises:
            WriteError: they cannot be written.
        """
        with suppress(WriteError):
            if self._at_end is not None:
                self._write(self._at_end)
        self.folder.write_config(self.experiment.config)
        write_json(self.folder.summary, summary)

    def _write(self, state: State, summary: Mapping[str, Any] | None = None) -> None:
        record = {ENVIRONMENT: self.environment, COMMANDS: [*self.commands], **(summary or {})}
        checkpoint.save(self.folder.last, replace(checkpoint_of(self.experiment, state), record=record))
        self.last_step = state.progress.step
