"""Trains a group of jobs by one program, each into its own run folder."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mlpkit.atomic_write import flushed_together
from mlpkit.choices import Choices
from mlpkit.config import Config
from mlpkit.console import TrainingDisplay, make_console
from mlpkit.data.dataset import Dataset
from mlpkit.device import set_determinism
from mlpkit.engines.member import Member, Part
from mlpkit.engines.together import Together
from mlpkit.errors import MlpkitError
from mlpkit.experiment import ANEW, Experiment, augmentation_in, check_steps, compute_with
from mlpkit.interrupts import Wish
from mlpkit.lock import locked
from mlpkit.models import build_model
from mlpkit.run import describe, take_up
from mlpkit.run_folder import RunFolder, create
from mlpkit.session import Session, Trial
from mlpkit.sweep.cohort import Cohort
from mlpkit.sweep.job import Saved
from mlpkit.sweep.work import Work
from mlpkit.tasks import TASKS


@dataclass(frozen=True)
class Assembly:
    """Runs that one program trains, as objects.

    Attributes:
        experiments: one for each run.
        together: the engine of all.
    """

    experiments: list[Experiment]
    together: Together


def build_together(
    configs: Sequence[Config], datasets: Sequence[Dataset], owned: bool = True, before: Choices = ANEW
) -> Assembly:
    """Return the objects that configs of one group stand for; nothing is written.

    Args:
        configs: of the runs.
        datasets: of each; the same object where several share it.
        owned: as for `mlpkit.experiment.build`.
        before: likewise, of all of them.
    """
    first, dataset = configs[0], datasets[0]
    set_determinism(first.trainer.deterministic)
    task = TASKS[dataset.signature.task]
    networks = [build_model(config, data) for config, data in zip(configs, datasets, strict=True)]
    matmul = compute_with(first, dataset, networks[0], "cpu", owned, before, len(configs))
    parts = [
        Part(network, data.splits, config)
        for network, data, config in zip(networks, datasets, configs, strict=True)
    ]
    together = Together(parts, task, "cpu", augmentation_in(first, dataset), matmul)
    because = f"one of {len(configs)} runs that are trained together"
    experiments = [
        Experiment(config, data, task, member.network, member, "cpu", matmul, because, len(configs))
        for config, data, member in zip(configs, datasets, together.members, strict=True)
    ]
    return Assembly(experiments, together)


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
        RunInterruptedError: somebody wished to stop; what was trained has been saved.
    """
    fit: dict[int, tuple[Config, Dataset]] = {}
    for number, config in configs.items():
        dataset = work.datasets.load(config.dataset)
        try:
            check_steps(config, len(dataset.splits["train"]))
            fit[number] = config, dataset
        except MlpkitError as error:
            ended(number, error)
    if not fit:
        return
    of_each, datasets = zip(*fit.values(), strict=True)
    assembly = build_together(of_each, datasets, work.allowed.owned, before)
    sessions, rows = dict[Session, int](), []
    with ExitStack() as held:
        with flushed_together():
            for row, (number, experiment) in enumerate(zip(fit, assembly.experiments, strict=True)):
                work.wish.check()
                try:
                    session = _begin(work, experiment, held, saved.get(number))
                except MlpkitError as error:
                    ended(number, error)
                else:
                    sessions[session] = number
                    rows.append(row)
        if not sessions:
            return
        if len(rows) < len(assembly.experiments):
            assembly.together.keep(rows)
        judge = work.judge
        cohort = Cohort(
            list(sessions),
            assembly.together,
            work.wish,
            lambda session, error: ended(sessions[session], error),
            work.display.tick,
            judge and (lambda of, *known: judge([sessions[session] for session in of], *known)),
        )
        cohort.fit()


def _begin(work: Work, experiment: Experiment, held: ExitStack, saved: Saved | None) -> Session:
    """Make a run's folder or bring the run to where it was, take its lock and open its records."""
    config, member = experiment.config, experiment.engine
    assert isinstance(member, Member)
    folder = create(config) if saved is None else RunFolder(Path(str(config.run.dir)))
    held.enter_context(locked(folder.lock))
    # Its own wish: that one run has ended does not let signals stop the others in mid-step.
    session = Session(experiment, folder, None, Wish(), None if work.judge is None else Trial())
    monitored, score = experiment.dataset.monitored, experiment.task.monitor
    session.display = TrainingDisplay(make_console(), "none", config.trainer.epochs, monitored, score)
    kept = None
    if saved is not None:
        kept = take_up(session, saved, work.warn)
        if session.trainer.best_model is not None:
            member.load_best_state(session.trainer.best_model)
    describe(session, work.command, again=saved is not None, owned=work.allowed.owned)
    session.begin(kept)
    session.introduce()
    return session
