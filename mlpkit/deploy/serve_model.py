"""The model that is served, and the newer checkpoints of its run."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlpkit.analysis.named_run import open_members, warn_of_nan
from mlpkit.analysis.novelty import Novelty, stored_novelty
from mlpkit.analysis.predict import Ensemble, Predictor, make_predictor, members_of
from mlpkit.config.problems import plural
from mlpkit.data.raw_inputs import missing_texts
from mlpkit.errors import DataError, MlpkitError, reason_of
from mlpkit.folders.checkpoint import Checkpoint, load_first
from mlpkit.folders.find_run import find_checkpoints, run_of
from mlpkit.folders.trust import Trust
from mlpkit.models.torch_network import count_parameters

SECONDS = 0.5  # between two looks at the checkpoint

Note = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Served:
    """A model in memory.

    Attributes:
        predictor: the network and what is needed to use it, or an ensemble.
        stored: the checkpoint, without its tensors; of an ensemble, that of the first member.
        path: the checkpoint's file, or the sweep's folder.
    """

    predictor: Predictor
    stored: Checkpoint
    path: Path

    @property
    def epoch(self) -> int | None:
        """The epoch after which the checkpoint was saved; None for an ensemble of several runs."""
        return self.predictor.epoch

    @property
    def about(self) -> str:
        """The epoch or the number of members, in words."""
        if self.epoch is None:
            return f"an ensemble of {plural(len(members_of(self.predictor)), 'model')}"
        return f"epoch {self.epoch}"

    @cached_property
    def parameters(self) -> int:
        """The number of weights with which a row is multiplied."""
        return sum(count_parameters(member.network) for member in members_of(self.predictor))

    @cached_property
    def novelty(self) -> Novelty | None:
        """How unlike the training rows a row is, if the checkpoint holds what it takes."""
        return stored_novelty([(self.path, self.stored)], self.predictor)

    @cached_property
    def missing_texts(self) -> frozenset[str]:
        """The texts that stand for a missing value of a table."""
        return frozenset(missing_texts(self.stored.config.dataset))


class Source:
    """Where the model comes from; this one has it from the beginning.

    Attributes:
        model: the newest model.
        reloads: how often it has been replaced.
    """

    def __init__(self, model: Served) -> None:
        """Take the model."""
        self.model, self.reloads = model, 0

    async def follow(self) -> None:
        """Replace the model when there is a newer one, until the task is cancelled; here there is none."""


class RunSource(Source):
    """A run folder or a checkpoint file, whose newer checkpoints replace the model."""

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
        super().__init__(self._load(find_checkpoints(run, which)))

    async def follow(self) -> None:
        """See `Source.follow`."""
        while True:
            await asyncio.sleep(SECONDS)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Replace the model if the checkpoint has changed; keep it if there is none that can be used."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            if stamp is None:
                raise DataError(f"{self._run}: the checkpoint is gone")
            new = self._load(find_checkpoints(self._run, self._which)[:1])
            if new.predictor.input_schema != self.model.predictor.input_schema:
                raise DataError(
                    f"{new.path}: reads or says something else; stop the server and start it anew"
                )
        except (MlpkitError, OSError) as error:
            self._note(f"warning: {reason_of(error)} (the model of {self.model.about} stays)")
            return
        self.model = new
        self.reloads += 1
        self._note(f"now the model of {new.about}: {new.path}")

    def _load(self, paths: Sequence[Path]) -> Served:
        at_best = self._which == "best" and self._run.is_dir()  # the newest checkpoint holds them too
        path, stored = load_first(paths, self._note, trust=self._trust, at_best=at_best)
        return Served(_predictor_of(path, stored, self._device), stored, path)

    def _stamp(self) -> object:
        """Return a value that changes when another checkpoint is there; None if there is none now."""
        try:
            path = find_checkpoints(self._run, self._which)[0]
            about = path.stat()
        except (MlpkitError, OSError):
            return None
        return path, about.st_mtime_ns, about.st_size, about.st_ino


def load_ensemble(run: str | None, which: str, device: str, trust: Trust) -> Served:
    """Return the ensemble of a sweep's best setting or of a folder of members, as `mlpkit predict` uses it.

    Raises:
        ConfigError: it is not a sweep, or its runs read their inputs in different ways.
        DataError: there is no checkpoint that can be loaded.
    """
    runs = open_members(run, which, trust, ensemble=True)
    path, stored = runs[0]
    predictors = [_predictor_of(path, member, device) for path, member in runs]
    return Served(Ensemble(predictors), stored, run_of(path).parent)


def _predictor_of(path: Path, stored: Checkpoint, device: str) -> Predictor:
    warn_of_nan(stored.state.model, path)
    return make_predictor(stored, device)
