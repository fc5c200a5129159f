"""Optuna's part in a search: it says which settings to try next, and remembers what came of them.

Asking goes to a study in memory, and what has ended is written down in SQLite: to ask the database takes
fifty times as long. A batch that a killed process has not told is asked for again: what a sampler draws is a
function of the seed and of the batches before, so that the same trials come.
"""

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from mlpkit.data.randomness import derived_seed
from mlpkit.errors import DataError, WriteError
from mlpkit.sweep import database
from mlpkit.sweep.grid import Interval
from mlpkit.sweep.search_plan import Space

LARGEST = 1 << 27  # bytes of a study: several times what the most trials take
NAME = "search"  # of the study; hyperband deals trials into brackets by it

optuna.logging.set_verbosity(optuna.logging.ERROR)  # what is worth saying is said by mlpkit


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        state: done, pruned or failed.
        value: the monitored score at its best epoch; None where it has failed.
        about: what is noted with it.
    """

    state: TrialState
    value: float | None
    about: Mapping[str, str]


class Study:
    """The trials of a search."""

    def __init__(
        self,
        path: Path,
        space: Space,
        sampler: str,
        pruner: BasePruner,
        batch: int,
        seed: int,
        higher_is_better: bool,
    ) -> None:
        """Open the study, made where it is missing.

        Args:
            path: of its database.
            space: what each key may be.
            sampler: tpe, random or cmaes.
            pruner: Optuna's.
            batch: how many trials are asked for at once.
            seed: of the sampler.
            higher_is_better: the direction of the monitored score.

        Raises:
            DataError: the database cannot be read.
            WriteError: it cannot be made.
        """
        self.path, self._sampler, self._batch, self._seed = path, sampler, batch, seed
        self._space = {key: _distribution(values) for key, values in space.items()}
        direction = StudyDirection.MAXIMIZE if higher_is_better else StudyDirection.MINIMIZE
        self._study = optuna.create_study(study_name=NAME, direction=direction, pruner=pruner)
        new = not path.exists()
        try:
            if not new:
                _refuse_foreign(path)
            self._stored = optuna.create_study(
                # Not its URL, in which `%`, `?` and more of a folder's name mean something else.
                storage=RDBStorage("sqlite://", {"creator": partial(database.connect, path)}),
                study_name=NAME,
                direction=direction,
                load_if_exists=True,
            )
            past = self._stored.get_trials(deepcopy=False)
        except DataError:
            raise
        except Exception as error:  # of Optuna, SQLAlchemy or SQLite
            raise (WriteError if new else DataError)(f"{path}: {_reason(error)}; search anew") from None
        self._past, self.told = past, len(past)
        self._remember()

    def _remember(self) -> None:
        """Take over what was told; the running batch, of which some may have been, is asked for again."""
        whole = self._past[: len(self._past) // self._batch * self._batch]
        if self._sampler != "cmaes":
            self._study.add_trials(whole)
            return
        # What CMA-ES goes on from Optuna would keep as a pickle, which a file from elsewhere must not hold;
        # it comes again from the same trials.
        for _ in range(0, len(whole), self._batch):
            for trial in self.ask(self._batch):
                before = whole[trial.number]
                self._tell(trial, Outcome(before.state, before.value, before.user_attrs))

    @property
    def asked(self) -> int:
        """How many trials there are."""
        return len(self._study.get_trials(deepcopy=False))

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials that were told, in their order."""
        return self._stored.get_trials(deepcopy=False)

    def ask(self, count: int, poll: Callable[[], None] = lambda: None) -> list[Trial]:
        """Return the next trials; `poll` is called before each.

        Raises:
            DataError: they are not those that a killed process was told of.
        """
        start = self.asked
        if self._sampler != "cmaes" or start == 0:
            self._study.sampler = self._make_sampler(start)
        trials = []
        for _ in range(count):
            poll()
            trials.append(self._study.ask(self._space))
        if any(t.params != past.params for t, past in zip(trials, self._past[start:], strict=False)):
            raise DataError(
                f"{self.path}: holds other trials than come now; search anew, or with the Optuna it was begun"
            )
        return trials

    def _make_sampler(self, start: int) -> BaseSampler:
        seed = derived_seed(self._seed, "search", start) % 2**32
        if self._sampler == "random":
            return RandomSampler(seed=seed)
        if self._sampler == "cmaes":
            return CmaEsSampler(seed=seed, popsize=self._batch, warn_independent_sampling=False)
        # A running trial counts as a bad one, so that those of a batch keep away from each other.
        return TPESampler(seed=seed, constant_liar=True)

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """Say what came of a trial; the first that was asked for comes first.

        Raises:
            WriteError: it cannot be written down.
        """
        self._tell(trial, outcome)
        if trial.number < self.told:  # by a process that was killed in the middle of a batch
            return
        known = self._study.get_trials(deepcopy=False)[trial.number]
        kept = {key: value for key, value in known.system_attrs.items() if not key.startswith("cma:")}
        stored = create_trial(
            state=outcome.state,
            value=outcome.value,
            params=known.params,
            distributions=known.distributions,
            user_attrs=dict(outcome.about),
            system_attrs=kept,
            intermediate_values=known.intermediate_values,
        )
        stored.datetime_start = known.datetime_start
        try:
            self._stored.add_trial(stored)
        except Exception as error:  # of Optuna, SQLAlchemy or SQLite
            raise WriteError(f"{self.path}: cannot be written ({_reason(error)})") from None
        self.told += 1

    def _tell(self, trial: Trial, outcome: Outcome) -> None:
        for name, text in outcome.about.items():
            trial.set_user_attr(name, text)
        # CMA-ES needs a value of each, and takes their order alone: what was pruned was not among the best.
        is_ranked = outcome.state == TrialState.COMPLETE or self._sampler == "cmaes"
        if outcome.value is not None and is_ranked:
            self._study.tell(trial, outcome.value)
        else:
            self._study.tell(trial, state=outcome.state)


def _refuse_foreign(path: Path) -> None:
    """Refuse a database that is not as Optuna makes it.

    Raises:
        DataError: it is not.
        sqlite3.Error: it cannot be read.
    """
    if (size := path.stat().st_size) > LARGEST:
        raise DataError(f"{path}: {size} bytes; a study has at most {LARGEST}; search anew")
    engine = RDBStorage("sqlite://").engine
    with closing(engine.raw_connection()) as made:
        assert isinstance(made.driver_connection, sqlite3.Connection)
        expected = database.schema(made.driver_connection)
    engine.dispose()
    with closing(database.connect(path)) as found:
        if not database.check(found, path, expected, begun=True):
            raise DataError(f"{path}: not a study of this Optuna; search anew")


def _distribution(values: Interval | tuple[str, ...]) -> BaseDistribution:
    if not isinstance(values, Interval):
        return CategoricalDistribution(tuple(dict.fromkeys(values)))
    low, high = values.ends
    if values.integer:
        return IntDistribution(int(low), int(high), log=values.log)
    return FloatDistribution(low, high, log=values.log)


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
