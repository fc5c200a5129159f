"""The Optuna study of a search: it samples the next settings and stores the results of the trials.

A study in memory samples the trials, and finished trials are stored in SQLite: sampling from the database is
fifty times as slow. A batch that was not finished when the process was killed is sampled again: the samples
depend only on the seed and the batches before, so the trials are the same.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy.pool import NullPool

from mlpkit.data.randomness import derived_seed
from mlpkit.errors import DataError, WriteError, reason_of
from mlpkit.sweeps import database
from mlpkit.sweeps.grid import Interval
from mlpkit.sweeps.search_plan import Space
from mlpkit.sweeps.trial_result import TrialResult
from mlpkit.system.failed_write import failed_write

LARGEST_STUDY = 1 << 27  # bytes: several times a study with the largest number of trials
NAME = "search"  # of the study; hyperband assigns trials to brackets by a hash of it

optuna.logging.set_verbosity(optuna.logging.ERROR)  # mlpkit prints its own progress


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
        """Open the study, creating it if it does not exist.

        Args:
            path: the database file.
            space: the values of each searched key.
            sampler: tpe, random or cmaes.
            pruner: Optuna's pruner.
            batch: number of trials that are sampled at once.
            seed: the sampler's seed.
            higher_is_better: the direction of the monitored score.

        Raises:
            DataError: the database cannot be read.
            WriteError: it cannot be created.
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
                # Not by URL: `%`, `?` and other characters of a path have a meaning there. Without a pool
                # the file is open only while it is read or written.
                storage=RDBStorage(
                    "sqlite://", {"creator": partial(database.connect, path), "poolclass": NullPool}
                ),
                study_name=NAME,
                direction=direction,
                load_if_exists=True,
            )
            past = self._stored.get_trials(deepcopy=False)
        except DataError:
            raise
        except Exception as error:  # from Optuna, SQLAlchemy or SQLite
            raise (WriteError if new else DataError)(f"{path}: {reason_of(error)}; search anew") from None
        self._past, self.told = past, len(past)
        self._load_past()

    def _load_past(self) -> None:
        """Add the stored whole batches to the study in memory; an unfinished batch is sampled again."""
        whole = self._past[: len(self._past) // self._batch * self._batch]
        if self._sampler != "cmaes":
            self._study.add_trials(whole)
            return
        # Optuna would store the state of CMA-ES as a pickle, which a foreign file must not hold. Sampling
        # the same trials again gives the same state.
        for _ in range(0, len(whole), self._batch):
            for trial in self.ask(self._batch):
                past = whole[trial.number]
                self._tell(trial, TrialResult(past.state, past.value, past.user_attrs))

    @property
    def asked(self) -> int:
        """The number of trials that were sampled."""
        return len(self._study.get_trials(deepcopy=False))

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials with a stored result, in order; `told` is their number."""
        return self._stored.get_trials(deepcopy=False)

    def ask(self, count: int, poll: Callable[[], None] = lambda: None) -> list[Trial]:
        """Sample the next trials; `poll` is called before each and may raise to stop.

        Raises:
            DataError: they differ from the stored trials of an unfinished batch.
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
        # A running trial counts as a bad one, which keeps the trials of a batch apart.
        return TPESampler(seed=seed, constant_liar=True)

    def tell(self, trial: Trial, result: TrialResult) -> None:
        """Store the result of a trial; call it in the order of the trials' numbers.

        Raises:
            WriteError: the result cannot be written.
        """
        self._tell(trial, result)
        if trial.number < self.told:  # already stored, by a process that was killed within the batch
            return
        known = self._study.get_trials(deepcopy=False)[trial.number]
        kept = {key: value for key, value in known.system_attrs.items() if not key.startswith("cma:")}
        stored = create_trial(
            state=result.state,
            value=result.value,
            params=known.params,
            distributions=known.distributions,
            user_attrs=dict(result.attributes),
            system_attrs=kept,
            intermediate_values=known.intermediate_values,
        )
        stored.datetime_start = known.datetime_start
        try:
            self._stored.add_trial(stored)
        except Exception as error:  # from Optuna, SQLAlchemy or SQLite
            raise failed_write(self.path, getattr(error, "orig", error)) from None
        self.told += 1

    def _tell(self, trial: Trial, result: TrialResult) -> None:
        for name, text in result.attributes.items():
            trial.set_user_attr(name, text)
        # CMA-ES needs a value for each trial but uses only their order; a pruned trial is not among the best.
        has_rank = result.state == TrialState.COMPLETE or self._sampler == "cmaes"
        if result.value is not None and has_rank:
            self._study.tell(trial, result.value)
        else:
            self._study.tell(trial, state=result.state)


def _refuse_foreign(path: Path) -> None:
    """Refuse a database that does not have the schema that Optuna creates.

    Raises:
        DataError: it is too large or has another schema.
        sqlite3.Error: it cannot be read.
    """
    if (size := path.stat().st_size) > LARGEST_STUDY:
        raise DataError(f"{path}: {size} bytes; a study has at most {LARGEST_STUDY}; search anew")
    engine = RDBStorage("sqlite://").engine
    with closing(engine.raw_connection()) as empty_study:
        assert isinstance(empty_study.driver_connection, sqlite3.Connection)
        expected = database.schema(empty_study.driver_connection)
    engine.dispose()
    with closing(database.connect(path)) as connection:
        if not database.check(connection, path, expected, partial=True):
            raise DataError(f"{path}: not a study of this Optuna; search anew")


def _distribution(values: Interval | tuple[str, ...]) -> BaseDistribution:
    if not isinstance(values, Interval):
        return CategoricalDistribution(tuple(dict.fromkeys(values)))
    low, high = values.ends
    if values.integer:
        return IntDistribution(int(low), int(high), log=values.log)
    return FloatDistribution(low, high, log=values.log)
