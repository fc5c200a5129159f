"""Trains the jobs of a sweep in groups, one engine per group."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from mlpkit.config.config import Config
from mlpkit.engines.engine import Engine
from mlpkit.errors import MlpkitError, RunInterruptedError
from mlpkit.folders.choices import Choices, stored_choices
from mlpkit.folders.new_run import create
from mlpkit.folders.run_folder import RunFolder
from mlpkit.sweeps.groups import Group, group
from mlpkit.sweeps.job import clear_if_fresh, last_line, newest_saved, train_alone
from mlpkit.sweeps.work import Work
from mlpkit.system.atomic_write import flushed_together
from mlpkit.system.device import choose_device
from mlpkit.system.lock import locked
from mlpkit.training.build import UNSET, build
from mlpkit.training.checks import check_steps
from mlpkit.training.recorder import Recorder
from mlpkit.training.start import Saved, record_setup, restore_run
from mlpkit.training.states import restore
from mlpkit.training.trainer import Trainer


def vectorized(work: Work, most: int | None = None, as_one: bool = False) -> None:
    """Train jobs with equal shapes together; a group may be a single job.

    Args:
        work: the jobs.
        most: the largest number of jobs of a group; None means as many as pay.
        as_one: whether the jobs are one group already; only those saved at other steps are trained apart.
    """
    fresh = {number: work.config(number) for number in work.entries if clear_if_fresh(work, number)}
    others = {number: work.config(number) for number in work.entries if number not in fresh}
    saved = {n: newest for n, config in others.items() if (newest := newest_saved(work, config))}
    ready = fresh | {number: others[number] for number in saved}
    before = {
        number: stored_choices(_folder_of(ready[number]), stored.config, choose_device(ready[number].device))
        for number, (_, stored) in saved.items()
    }
    resume_points = {n: (stored.state.progress.step, before[n]) for n, (_, stored) in saved.items()}
    groups, errors = _by_resume_point(ready, resume_points), dict[int, MlpkitError]()
    if not as_one:
        groups, errors = group(ready, work.datasets, resume_points, work.stop.check, most)
    for line in work.datasets.take_remarks():
        work.warn(line)
    for number, error in errors.items():
        work.on_end(number, error)
    # Jobs that cannot be resumed: trained alone, they report why.
    groups += [Group((number,)) for number in others if number not in saved]
    work.display.begin(groups)
    for members in groups:
        work.stop.check()
        work.display.next_group(members)
        first = members.numbers[0]
        if first in ready:
            configs = {number: ready[number] for number in members.numbers}
            _train_group(work, configs, saved, before.get(first, UNSET))
        else:
            train_alone(work, first)


def _by_resume_point(numbers: Iterable[int], resume_points: Mapping[int, Hashable]) -> list[Group]:
    groups: dict[Hashable, list[int]] = {}
    for number in numbers:
        groups.setdefault(resume_points.get(number), []).append(number)
    return [Group(tuple(members)) for members in groups.values()]


def _train_group(
    work: Work, configs: Mapping[int, Config], saved: Mapping[int, Saved], before: Choices
) -> None:
    """Train jobs together; if that fails, train the unfinished ones one after another."""
    left = dict(configs)

    def on_end(number: int, error: BaseException | None) -> None:
        del left[number]
        work.on_end(number, error)

    try:
        train_together(work, configs, saved, before, on_end)
    except RunInterruptedError:
        raise
    except Exception as error:  # for example, too little memory for all of them at once
        if len(configs) == 1:
            work.on_end(next(iter(configs)), error)
            return
        work.warn(f"trained one after another: {last_line(error)}")
        for number in list(left):
            work.stop.check()
            train_alone(work, number)


def train_together(
    work: Work,
    configs: Mapping[int, Config],
    saved: Mapping[int, Saved],
    before: Choices,
    on_end: Callable[[int, BaseException | None], None],
) -> None:
    """Train a group.

    Args:
        work: the jobs and services of the launcher.
        configs: the jobs' configs by number, with run.dir set.
        saved: checkpoints of resumed jobs, all at the same step; either all jobs of the group have one or
            none.
        before: the choices that resumed jobs were trained with.
        on_end: called with each finished job's number and its error, or None.

    Raises:
        RunInterruptedError: a stop signal arrived; the runs have been saved.
    """
    valid: list[int] = []
    for number, config in configs.items():
        try:
            check_steps(config, len(work.datasets.load(config.dataset).splits["train"]))
            valid.append(number)
        except MlpkitError as error:
            on_end(number, error)
    if not valid:
        return
    datasets = [work.datasets.load(configs[number].dataset) for number in valid]
    engine = build([configs[number] for number in valid], work.origin.trust, before, datasets)
    with ExitStack() as locks:
        recorders, numbers, kept = list[Recorder](), dict[Recorder, int](), list[int]()
        with flushed_together():
            for run, number in enumerate(valid):
                work.stop.check()
                try:
                    recorder = _begin(work, engine, run, number, locks, saved.get(number))
                except MlpkitError as error:
                    on_end(number, error)
                else:
                    recorders.append(recorder)
                    numbers[recorder] = number
                    kept.append(run)
        if not recorders:
            return
        judge = work.judge
        trainer = Trainer(
            engine.select_runs(kept),
            recorders,
            work.stop,
            lambda recorder, error: on_end(numbers[recorder], error),
            work.display.on_step,
            judge and (lambda runs, *scores: judge([numbers[recorder] for recorder in runs], *scores)),
        )
        if numbers[recorders[0]] in saved:
            restore(trainer, [saved[numbers[recorder]][1].state for recorder in recorders])
        trainer.fit()


def _begin(
    work: Work, engine: Engine, run: int, number: int, locks: ExitStack, saved: Saved | None
) -> Recorder:
    """Make a run's folder, or rewind it to its checkpoint; lock it and open its records."""
    experiment = engine.experiments[run]
    if saved is None:
        folder = create(experiment.config, work.origin.trust, locks)
    else:
        folder = _folder_of(experiment.config)
        locks.enter_context(locked(folder.lock))
    recorder, position = Recorder(experiment, folder, None, work.judge is None, work.warn), None
    if saved is not None:
        position = restore_run(recorder, engine, saved, work.warn)
    record_setup(recorder, engine, work.origin_of(number), again=saved is not None)
    recorder.begin(engine, position)
    return recorder


def _folder_of(config: Config) -> RunFolder:
    return RunFolder(Path(str(config.run.dir)))
