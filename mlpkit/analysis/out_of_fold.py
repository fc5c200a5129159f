"""Out-of-fold predictions: of each row of a table, by the models of the folds that did not train on it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mlpkit.analysis.ensemble import average_outputs
from mlpkit.analysis.evaluate import load_matching
from mlpkit.analysis.predict import Predictions, Predictor, make_predictor
from mlpkit.data.table_options import TableOptions
from mlpkit.errors import ConfigError, DataError
from mlpkit.metrics import add_up
from mlpkit.runs.checkpoint import load_first
from mlpkit.runs.find_run import find_checkpoints
from mlpkit.runs.results import RunResult
from mlpkit.runs.trust import Trust


@dataclass(frozen=True)
class OutOfFold:
    """What the models of all folds say.

    Attributes:
        rows: the places of the rows in the table, counted from 0, ascending.
        outputs: (rows, width) raw outputs; with several seeds, those of their ensemble.
        targets: of the rows; as `Split.targets`.
        folds: (rows,) the fold that tests each row.
        predictor: one of the models.
        config: of the table.
        seeds: how many models predict each row.
        chosen_by_test: whether the best epochs were chosen by the rows that are predicted.
    """

    rows: Tensor
    outputs: Tensor
    targets: Tensor
    folds: Tensor
    predictor: Predictor
    config: TableOptions
    seeds: int = 1
    chosen_by_test: bool = False

    def predictions(self) -> Predictions:
        """Return the predictions."""
        return self.predictor.decode(self.outputs)

    def scores(self) -> dict[str, float]:
        """Return the scores of all rows together; without the loss, whose unit may differ between folds."""
        task, metrics = self.predictor.task, self.predictor.metrics
        truth = task.truth(task.encode(self.targets, self.outputs.dtype))
        sums = add_up(torch.zeros(len(self.rows)), task.statistics(self.outputs, truth))
        found = {name: value for name, value in task.scores(sums, len(self.rows)).items() if name != "loss"}
        computed = task.compute(metrics, self.outputs, truth)
        return found | dict(zip([metric.name for metric in metrics], computed, strict=True))


def predict_out_of_fold(
    sweep: Path,
    runs: Iterable[RunResult],
    which: str,
    warn: Callable[[str], None],
    device: str = "cpu",
    trust: Trust = Trust.FOREIGN,
) -> list[OutOfFold]:
    """Return, for each seed, what the models of each fold say of the rows that it tests.

    Args:
        sweep: where the runs lie.
        runs: of one setting; they differ in folds and seeds.
        which: best or last, of each run's checkpoints.
        warn: is told of a damaged checkpoint that another one stands for.
        device: cpu or cuda:N.
        trust: of the checkpoints.

    Raises:
        ConfigError: the runs are no cross-validation.
        DataError: a fold is missing, or the table is no longer what a run was trained on.
    """
    return [
        _of_one_seed([_test_rows(run, which, warn, device, trust) for run in folds.values()])
        for folds in _by_seed(sweep, runs).values()
    ]


def average(seeds: Sequence[OutOfFold]) -> OutOfFold:
    """Return the predictions of the ensembles of all seeds: mean probabilities, or mean values."""
    task = seeds[0].predictor.task
    return replace(
        seeds[0],
        outputs=average_outputs(task, torch.stack([of.outputs for of in seeds])),
        seeds=len(seeds),
        chosen_by_test=any(of.chosen_by_test for of in seeds),
    )


def _by_seed(sweep: Path, runs: Iterable[RunResult]) -> Mapping[object, Mapping[int, RunResult]]:
    """Return the runs by their seed and their fold.

    Raises:
        ConfigError: they are no cross-validation.
        DataError: a fold has no trained run.
    """
    by_seed: dict[object, dict[int, RunResult]] = {}
    for run in runs:
        fold = run.settings.get("dataset.fold")
        if not isinstance(fold, int):
            raise ConfigError(
                f"--out-of-fold: {run.path} has no fold; train them with "
                "mlpkit train -m dataset=… 'dataset.fold=range(5)'"
            )
        by_seed.setdefault(run.settings["seed"], {})[fold] = run
    for seed, trained in by_seed.items():
        folds = next(iter(trained.values())).settings["dataset.folds"]
        if missing := [str(fold) for fold in range(folds) if fold not in trained]:
            raise DataError(
                f"{sweep}: seed {seed} has no trained run of fold {', '.join(missing)} of {folds}, and the "
                "rows of each need one; train all folds in one sweep"
            )
    return by_seed


def _test_rows(
    run: RunResult, which: str, warn: Callable[[str], None], device: str, trust: Trust
) -> OutOfFold:
    """Return what a run says of its test rows, as `mlpkit predict --split test` does.

    Raises:
        DataError: the table is no longer what it was trained on.
    """
    path, stored = load_first(find_checkpoints(run.path, which), warn, trust=trust)
    config = stored.config.dataset
    dataset = load_matching(config, stored, path, lambda line: None, trust)
    if difference := stored.other_data(dataset):
        raise DataError(f"{run.path}: {difference}; bring the old data back, or train the folds anew")
    assert isinstance(config, TableOptions) and dataset.order is not None  # no other dataset has folds
    test, predictor = dataset.splits["test"], make_predictor(stored, device)
    assert isinstance(config.fold, int)
    return OutOfFold(
        rows=dataset.order[test.rows],
        outputs=predictor.outputs_in_blocks(test.inputs),
        targets=test.targets,
        folds=torch.full((len(test),), config.fold),
        predictor=predictor,
        config=config,
        chosen_by_test=which == "best" and dataset.monitored == "test",
    )


def _of_one_seed(folds: Iterable[OutOfFold]) -> OutOfFold:
    """Return the rows of all folds in the table's order."""
    first, *others = folds
    rows = torch.cat([first.rows, *(of.rows for of in others)])
    order = torch.argsort(rows)
    return replace(
        first,
        rows=rows[order],
        outputs=torch.cat([first.outputs, *(of.outputs for of in others)])[order],
        targets=torch.cat([first.targets, *(of.targets for of in others)])[order],
        folds=torch.cat([first.folds, *(of.folds for of in others)])[order],
    )
