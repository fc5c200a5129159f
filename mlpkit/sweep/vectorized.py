"""Trains the jobs of a sweep in groups, each by one engine."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from mlpkit.config.config import Config
from mlpkit.engines.engine import Engine
from mlpkit.errors import MlpkitError, RunInterruptedError
from mlpkit.runs.choices import Choices, choices_of
from mlpkit.runs.run_folder import RunFolder, create
from mlpkit.sweep.groups import Group, group
from mlpkit.sweep.job import is_fresh, last_line, newest_saved, train_alone
from mlpkit.sweep.work import Work
from mlpkit.system.atomic_write import flushed_together
from mlpkit.system.device import choose_device
from mlpkit.system.lock import locked
from mlpkit.training.build import ANEW, build, check_steps
from mlpkit.training.recorder import Recorder
from mlpkit.training.start import Saved, describe, restore_run
from mlpkit.training.states import restore
from mlpkit.training.trainer import Trainer


def vectorized(work: Work) -> None:
    """Train jobs of one shape together; a group may be a single job."""
    fresh = {number: work.config(number) for number in work.entries if is_fresh(work, number)}
    others = {number: work.config(number) for number in work.entries if number not in fresh}
    saved = {n: found for n, config in others.items() if (found := newest_saved(work, config))}
    ready = fresh | {number: others[number] for number in saved}
    before = {
        number: choices_of(_folder_of(ready[number]), stored.config, choose_device(ready[number].device))
        for number, (_, stored) in saved.items()
    }
    begun = {n: (stored.state.progress.step, before[n]) for n, (_, stored) in saved.items()}
    groups, wrong = group(ready, work.datasets, begun, work.wish.check)
    for line in work.datasets.take_remarks():
        work.warn(line)
    for number, error in wrong.items():
        work.ended(number, error)
    # What is wrong with these they say when they go on by themselves.
    groups += [Group((number,)) for number in others if number not in saved]
    work.display.begin(groups)
    for of in groups:
        work.wish.check()
        work.display.next_group(of)
        if of.numbers[0] in ready:
            configs = {number: ready[number] for number in of.numbers}
            _train_group(work, configs, saved, before.get(of.numbers[0], ANEW))
        else:
            train_alone(work, of.numbers[0])


def _train_group(
    work: Work, configs: Mapping[int, Config], saved: Mapping[int, Saved], before: Choices
) -> None:
    """Train jobs together; where that cannot be done, those that have not ended one after another."""
    left = dict(configs)

    def ended(number: int, error: BaseException | None) -> None:
        del left[number]
        work.ended(number, error)

    try:
        train_together(work, configs, saved, before, ended)
    except RunInterruptedError:
        raise
    except Exception as error:  # such as memory for one, and not for all of them
        if len(configs) == 1:
            work.ended(next(iter(configs)), error)
            return
        work.warn(f"trained one after another: {last_line(error)}")
        for number in list(left):
            work.wish.check()
            train_alone(work, number)


def train_together(
    work: Work,
    configs: Mapping[int, Config],
    saved: Mapping[int, Saved],
    before: Choices,
    ended: Callable[[int, BaseException | None], None],
) -> None:
    """Train a group.

    Args:
        work: what the launcher is given.
        configs: of the group's jobs, by their numbers; run.dir says where each goes.
        saved: the checkpoints of those that go on, all from the same place; with none of the group all begin.
        before: what those that go on have been trained with.
        ended: called with the number of each job that has ended, and why, where it has failed.

    Raises:
        RunInterruptedError: a stop signal arrived; what was trained has been saved.
    """
    fit: list[int] = []
    for number, config in configs.items():
        try:
            check_steps(config, len(work.datasets.load(config.dataset).splits["train"]))
            fit.append(number)
        except MlpkitError as error:
            ended(number, error)
    if not fit:
        return
    datasets = [work.datasets.load(configs[number].dataset) for number in fit]
    engine = build([configs[number] for number in fit], work.origin.trust, before, datasets)
    with ExitStack() as held:
        recorders, numbers, kept = list[Recorder](), dict[Recorder, int](), list[int]()
        with flushed_together():
            for run, number in enumerate(fit):
                work.wish.check()
                try:
                    recorder = _begin(work, engine, run, number, held, saved.get(number))
                except MlpkitError as error:
                    ended(number, error)
                else:
                    recorders.append(recorder)
                    numbers[recorder] = number
                    kept.append(run)
        if not recorders:
            return
        judge = work.judge
        trainer = Trainer(
            engine.take(kept),
            recorders,
            work.wish,
            lambda recorder, error: ended(numbers[recorder], error),
            work.display.on_step,
            judge and (lambda of, *known: judge([numbers[recorder] for recorder in of], *known)),
        )
        if numbers[recorders[0]] in saved:
            restore(trainer, [saved[numbers[recorder]][1].state for recorder in recorders])
        trainer.fit()


def _begin(
    work: Work, engine: Engine, run: int, number: int, held: ExitStack, saved: Saved | None
) -> Recorder:
    """Make a run's folder or bring it to where the run was, take its lock and open its records."""
    experiment = engine.experiments[run]
    folder = create(experiment.config, work.origin.trust) if saved is None else _folder_of(experiment.config)
    held.enter_context(locked(folder.lock))
    recorder, kept = Recorder(experiment, folder, None, work.judge is None), None
    if saved is not None:
        kept = restore_run(recorder, engine, saved, work.warn)
    describe(recorder, engine, work.origin_of(number), again=saved is not None)
    recorder.begin(engine, kept)
    return recorder


def _folder_of(config: Config) -> RunFolder:
    return RunFolder(Path(str(config.run.dir)))
