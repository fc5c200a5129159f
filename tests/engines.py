"""Engines of K runs and trainers for tests, made as the tool makes them; nothing is written."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from running import config as config_of

from mlpkit.config.config import Config
from mlpkit.data.dataset import Dataset, Split
from mlpkit.engines.autograd import AutogradGradients
from mlpkit.engines.engine import Engine
from mlpkit.engines.experiment import Experiment
from mlpkit.engines.manual import ManualGradients
from mlpkit.engines.matmul import EXACT, Matmul
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.state import Progress, Scores, State
from mlpkit.models.torch_network import Network, build_model
from mlpkit.sweeps.datasets import Datasets
from mlpkit.training.build import augmentation_in, experiment_of
from mlpkit.training.recorder import Recorder
from mlpkit.training.records import EpochReport
from mlpkit.training.stop import StopRequest
from mlpkit.training.trainer import Trainer

EPOCHS = 3  # of `trained`
KINDS = (AutogradGradients, ManualGradients)  # who fills the gradients
Kind = type[AutogradGradients] | type[ManualGradients]


def engine_of(
    kind: Kind,
    *overrides: str,
    configs: Sequence[Config] | None = None,
    datasets: Sequence[Dataset] | None = None,
    change: Callable[[Network], None] = lambda network: None,
    engine: type[Engine] = Engine,
    device: str = "cpu",
    matmul: Matmul = EXACT,
    **splits: Split,
) -> Engine:
    """Return an engine of one run, or of some.

    Args:
        kind: who fills the gradients.
        overrides: of the one run.
        configs: of the runs, instead.
        datasets: of each, where they are not to be loaded as a sweep does it.
        change: something to do to each network before the engine takes it.
        engine: its class.
        device: cpu or cuda:N.
        matmul: how products are computed.
        splits: to be added to the datasets, or to stand in for their own.
    """
    configs = configs or [config_of("run.plots=false", *overrides)]  # which are of other weights
    if datasets is None:
        load = Datasets().load
        datasets = [load(config.dataset) for config in configs]
    if splits:
        datasets = [replace(of, splits={**of.splits, **splits}) for of in datasets]
    experiments = []
    for config, dataset in zip(configs, datasets, strict=True):
        network = build_model(config, dataset, device)
        change(network)
        experiments.append(experiment_of(config, dataset, network))
    augmentation = augmentation_in(configs[0], datasets[0])
    return engine(experiments, device, kind, augmentation, matmul)


def network_of(engine: Engine, run: int = 0) -> Network:
    """Return a run's network, whose parameters are the engine's."""
    return engine.experiments[run].network


def model_of(engine: Engine, run: int = 0) -> dict[str, torch.Tensor]:
    """Return copies of a run's weights and buffers."""
    return engine.state(run)["model"]


def trained(engine: Engine) -> Engine:
    """Train for `EPOCHS` epochs with a learning rate of 0.01; no run may fail."""
    for epoch in range(EPOCHS):
        for index, rows in enumerate(engine.rows_of_steps(epoch, 0)):
            step = epoch * engine.steps.per_epoch + index
            assert not engine.step(rows, [0.01] * len(engine.blocks), epoch, step, measure=True)
        engine.collect()
    return engine


def evaluated(engine: Engine, split: str) -> dict[str, Any]:
    """Return scores on a split."""
    return engine.scores(engine.evaluate(split), split)


def collected(engine: Engine, rows: int | None = None) -> dict[str, Any]:
    """Return scores of the training rows that steps have seen; of a part of an epoch, say how many."""
    return engine.task.scores(list(engine.collect()), rows or engine.data.rows)


class Collector(Recorder):
    """Keeps what a run reports and saves.

    Attributes:
        reports: of its epochs.
        saved: states.
        summary: what it has come to.
        error: why it has failed.
    """

    def __init__(self, experiment: Experiment) -> None:
        super().__init__(experiment, RunFolder(Path("nowhere")), None)
        self.reports: list[EpochReport] = []
        self.saved: list[State] = []
        self.summary: dict[str, Any] = {}
        self.error: BaseException | None = None

    def log(self, epoch: EpochReport) -> None:
        self.reports.append(epoch)

    def save(self, state: State, at_end: bool = False) -> None:
        self.saved.append(state)
        self.saved_at = state.progress.epoch, state.progress.batch

    def finish(self, summary: dict[str, Any], progress: Progress, seconds: float) -> None:
        self.summary = summary

    def draw(self, progress: Progress) -> None:
        pass

    def close(self) -> None:
        pass

    def fail(self, error: BaseException, signal_number: int | None = None) -> BaseException:
        return error

    def values(self, split: str, score: str) -> list[float]:
        """Return a score of each epoch."""
        return [report.scores[split][score] for report in self.reports]

    @property
    def progress(self) -> Progress:
        """Where the run was when it was last saved."""
        return self.saved[-1].progress

    @property
    def best(self) -> tuple[dict[str, Scores], dict[str, torch.Tensor]]:
        """The best scores of all, and the weights that had them, when the run was last saved."""
        state = self.saved[-1]
        return state.progress.best_scores, state.best or state.model


def trainer_of(engine: Engine, **options: Any) -> tuple[Trainer, list[Collector]]:
    """Return a trainer, and what records its runs."""
    recorders = [Collector(experiment) for experiment in engine.experiments]

    def ended(recorder: Any, error: BaseException | None) -> None:
        recorder.error = error

    return Trainer(engine, recorders, StopRequest(), ended, **options), recorders
