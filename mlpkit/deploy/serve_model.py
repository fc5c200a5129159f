"""The model that is served, and its newer checkpoints."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlpkit.analysis.predict import Predictor, make_predictor
from mlpkit.data.raw_inputs import missing_texts
from mlpkit.deploy.portable import members_of
from mlpkit.errors import DataError, MlpkitError, reason_of
from mlpkit.folders.checkpoint import Checkpoint, load_first, not_finite
from mlpkit.folders.find_run import find_checkpoints
from mlpkit.folders.trust import Trust
from mlpkit.models.torch_network import count_parameters

SECONDS = 0.5  # between two looks at the checkpoint

Note = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Served:
    """A model in memory.

    Attributes:
        predictor: the network and what is needed to use it.
        stored: the checkpoint, without its tensors.
        path: the checkpoint's file.
    """

    predictor: Predictor
    stored: Checkpoint
    path: Path

    @property
    def epoch(self) -> int:
        """The epoch after which the checkpoint was saved."""
        return self.stored.state.progress.epoch

    @cached_property
    def parameters(self) -> int:
        """The number of weights with which a row is multiplied."""
        return sum(count_parameters(member.network) for member in members_of(self.predictor))

    @cached_property
    def missing_texts(self) -> frozenset[str]:
        """The texts that stand for a missing value of a table."""
        return frozenset(("", *missing_texts(self.stored.config.dataset)))


class Source:
    """A run folder or a checkpoint file, and the model that was read from it last.

    Attributes:
        model: the newest model.
        reloads: how often it has been replaced.
    """

    def __init__(self, run: Path, which: str, device: str, trust: Trust, note: Note) -> None:
        """Load the model.

        Args:
            run: the run folder or the checkpoint file.
            which: best or last, for a folder.
            device: cpu or cuda:N.
            trust: whether the checkpoint is the user's own or foreign.
            note: is called with each warning and note.

        Raises:
            DataError: there is no checkpoint that can be loaded.
        """
        self._run, self._which, self._device, self._trust, self._note = run, which, device, trust, note
        self._seen = self._stamp()
        self.model, self.reloads = self._load(find_checkpoints(run, which)), 0

    async def follow(self) -> None:
        """Replace the model whenever the run has a newer checkpoint, until the task is cancelled."""
        while True:
            await asyncio.sleep(SECONDS)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Replace the model if the checkpoint has changed; keep it if the new one cannot be used."""
        stamp = self._stamp()
        if stamp is None or stamp == self._seen:
            return
        self._seen = stamp
        try:
            new = self._load(find_checkpoints(self._run, self._which)[:1])
            if new.predictor.input_schema != self.model.predictor.input_schema:
                raise DataError(
                    f"{new.path}: reads or says something else; stop the server and start it anew"
                )
        except (MlpkitError, OSError) as error:
            self._note(f"warning: {reason_of(error)} (the model of epoch {self.model.epoch} stays)")
            return
        self.model = new
        self.reloads += 1
        self._note(f"now the model of epoch {new.epoch}: {new.path}")

    def _load(self, paths: Sequence[Path]) -> Served:
        path, stored = load_first(paths, self._note, trust=self._trust)
        if bad := next(not_finite(stored.state.model), None):
            self._note(
                f"warning: {path}: {bad} holds values that are not finite; the predictions mean nothing"
            )
        return Served(make_predictor(stored, self._device), stored, path)

    def _stamp(self) -> object:
        """Return a value that changes when another checkpoint is there; None if there is none now."""
        try:
            path = find_checkpoints(self._run, self._which)[0]
            about = path.stat()
        except (MlpkitError, OSError):
            return None
        return path, about.st_mtime_ns, about.st_size, about.st_ino
