"""Trains a group of jobs by one program, each into its own run folder."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mlpkit.atomic_write import flushed_together
from mlpkit.config import Config
from mlpkit.console import TrainingDisplay, make_console
from mlpkit.data.augment import augmentation_of
from mlpkit.data.dataset import Dataset
from mlpkit.device import set_determinism, set_threads
from mlpkit.engines.member import Member, Part
from mlpkit.engines.together import Together
from mlpkit.errors import MlpkitError
from mlpkit.experiment import Experiment, check_steps, matmul_of
from mlpkit.interrupts import Wish
from mlpkit.lock import locked
from mlpkit.models import build_model, count_parameters
from mlpkit.run import describe, take_up
from mlpkit.run_folder import RunFolder, create
from mlpkit.schema.dataset import ImageOptions
from mlpkit.session import Session, Trial
from mlpkit.sweep.cohort import Cohort
from mlpkit.sweep.job import Saved
from mlpkit.sweep.pruning import Judge
from mlpkit.tasks import TASKS

Ended = Callable[[int, BaseException | None], None]


@dataclass(frozen=True)
class Assembly:
    """Runs that one program trains, as objects.

    Attributes:
        experiments: one for each run.
        together: the engine of all.
    """

    experiments: list[Experiment]
    together: Together


def build_together(configs: Sequence[Config], datasets: Sequence[Dataset]) -> Assembly:
    """Return the objects that configs of one group stand for; nothing is written.

    Args:
        configs: of the runs.
        datasets: of each; the same object where several share it.
    """
    first, dataset = configs[0], datasets[0]
    set_determinism(first.trainer.deterministic)
    task, rows = TASKS[dataset.signature.task], len(dataset.splits["train"])
    networks = [build_model(config, data) for config, data in zip(configs, datasets, strict=True)]
    size = first.trainer.batch_size
    batch = rows if size == "full" else min(rows, size)
    set_threads(first.trainer.threads, batch * len(configs), count_parameters(networks[0]))
    matmul = matmul_of(first, networks[0], batch, "cpu")
    augmentation = None
    if isinstance(first.dataset, ImageOptions):
        augmentation = augmentation_of(first.dataset.augment, dataset.signature.input_shape)
    parts = [
        Part(network, data.splits, config)
        for network, data, config in zip(networks, datasets, configs, strict=True)
    ]
    together = Together(parts, task, "cpu", augmentation, matmul)
    because = f"one of {len(configs)} runs that are trained together"
    experiments = [
        Experiment(config, data, task, member.network, member, "cpu", matmul, because, len(configs))
        for config, data, member in zip(configs, datasets, together.members, strict=True)
    ]
    return Assembly(experiments, together)


def train_together(
    configs: Mapping[int, Config],
    datasets: Sequence[Dataset],
    saved: Mapping[int, Saved],
    command: str,
    wish: Wish,
    ended: Ended,
    tick: Callable[[Cohort], None],
    judge: Judge | None = None,
) -> None:
    """Train a group.

    Args:
        configs: of the jobs, by their numbers; run.dir says where each goes.
        datasets: of each.
        saved: the checkpoints of those that go on, all from the same place; with none of the group all begin.
        command: the command line, for the records.
        wish: to stop.
        ended: called with the number of each job that has ended, and why, where it has failed.
        tick: called after each step.
        judge: of a search's trials; None where runs stand for themselves.

    Raises:
        RunInterruptedError: somebody wished to stop; what was trained has been saved.
    """
    fit: dict[int, tuple[Config, Dataset]] = {}
    for (number, config), dataset in zip(configs.items(), datasets, strict=True):
        try:
            check_steps(config, len(dataset.splits["train"]))
            fit[number] = config, dataset
        except MlpkitError as error:
            ended(number, error)
    if not fit:
        return
    assembly = build_together([config for config, _ in fit.values()], [data for _, data in fit.values()])
    sessions, rows = dict[Session, int](), []
    with ExitStack() as held:
        with flushed_together():
            for row, (number, experiment) in enumerate(zip(fit, assembly.experiments, strict=True)):
                wish.check()
                try:
                    trial = None if judge is None else Trial()
                    session = _begin(experiment, command, held, trial, saved.get(number))
                except MlpkitError as error:
                    ended(number, error)
                else:
                    sessions[session] = number
                    rows.append(row)
        if not sessions:
            return
        if len(rows) < len(assembly.experiments):
            assembly.together.keep(rows)
        cohort = Cohort(
            list(sessions),
            assembly.together,
            wish,
            lambda session, error: ended(sessions[session], error),
            tick,
            judge and (lambda of, *known: judge([sessions[session] for session in of], *known)),
        )
        cohort.fit()


def _begin(
    experiment: Experiment, command: str, held: ExitStack, trial: Trial | None, saved: Saved | None
) -> Session:
    """Make a run's folder or bring the run to where it was, take its lock and open its records."""
    config, member = experiment.config, experiment.engine
    assert isinstance(member, Member)
    folder = create(config) if saved is None else RunFolder(Path(str(config.run.dir)))
    held.enter_context(locked(folder.lock))
    # Its own wish: that one run has ended does not let signals stop the others in mid-step.
    session = Session(experiment, folder, None, Wish(), trial)
    monitored, score = experiment.dataset.monitored, experiment.task.monitor
    session.display = TrainingDisplay(make_console(), "none", config.trainer.epochs, monitored, score)
    kept = None
    if saved is not None:
        kept = take_up(session, saved, lambda line: None)
        if session.trainer.best_model is not None:
            member.load_best_state(session.trainer.best_model)
    describe(folder, experiment, command, again=saved is not None)
    session.begin(kept)
    session.introduce()
    return session
