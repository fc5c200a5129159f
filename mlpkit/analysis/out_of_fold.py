"""Out-of-fold predictions: each row of a table is predicted by a model that did not train on it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mlpkit.analysis.baselines import scores_of_outputs
from mlpkit.analysis.matching_data import Load, load_matching
from mlpkit.analysis.predict import Predictor, make_predictor
from mlpkit.analysis.predictions import Predictions
from mlpkit.data.table_options import TableOptions
from mlpkit.errors import ConfigError, DataError
from mlpkit.folders.load_run import load_run
from mlpkit.folders.results import RunResult
from mlpkit.folders.trust import Trust


@dataclass(frozen=True)
class OutOfFold:
    """The outputs of the models of all folds, each for the rows that its fold tests.

    Attributes:
        rows: the indices of the rows in the table, ascending.
        outputs: (rows, width) raw outputs; with several seeds, those of their ensemble.
        targets: of the rows; as `Split.targets`.
        folds: (rows,) the fold that tests each row.
        predictor: one of the models.
        config: of the table.
        seeds: the number of models that predict each row.
        chosen_by_test: whether the best epochs were chosen by the scores of these rows.
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
        predictor = self.predictor
        return scores_of_outputs(predictor.task, self.outputs, self.targets, predictor.metrics)


def predict_out_of_fold(
    sweep: Path,
    runs: Iterable[RunResult],
    which: str,
    warn: Callable[[str], None],
    device: str = "cpu",
    trust: Trust = Trust.FOREIGN,
    load: Load | None = None,
) -> list[OutOfFold]:
    """Return, for each seed, the predictions of the models of all folds for the rows that their fold tests.

    Args:
        sweep: the folder of the runs, for errors.
        runs: of one setting; they differ in folds and seeds.
        which: best or last, of each run's checkpoints.
        warn: called with a line for each damaged checkpoint, in whose place another one is used.
        device: cpu or cuda:N.
        trust: of the checkpoints.
        load: returns a dataset that was loaded already; None: load it for each run.

    Raises:
        ConfigError: the runs are not a cross-validation.
        DataError: a fold is missing, or the table has changed since a run was trained.
    """
    return [
        _of_one_seed([_test_rows(run, which, warn, device, trust, load) for run in folds.values()])
        for folds in _by_seed(sweep, runs).values()
    ]


def average(seeds: Sequence[OutOfFold]) -> OutOfFold:
    """Return the predictions of the ensemble of all seeds: mean probabilities, or mean values."""
    first, *others = seeds
    if not others:
        return first
    return replace(
        first,
        outputs=first.predictor.task.average(torch.stack([seed.outputs for seed in seeds])),
        seeds=len(seeds),
        chosen_by_test=any(seed.chosen_by_test for seed in seeds),
    )


def _by_seed(sweep: Path, runs: Iterable[RunResult]) -> Mapping[object, Mapping[int, RunResult]]:
    """Return the runs by their seed and their fold.

    Raises:
        ConfigError: they are not a cross-validation.
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
    run: RunResult, which: str, warn: Callable[[str], None], device: str, trust: Trust, load: Load | None
) -> OutOfFold:
    """Return a run's outputs for its test rows, as `mlpkit predict --split test` does.

    Raises:
        DataError: the table has changed since the run was trained.
    """
    path, stored = load_run(run.path, which, warn, trust=trust)
    config = stored.config.dataset
    dataset = load_matching(config, stored, path, lambda line: None, trust, load)
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


def _of_one_seed(folds: Sequence[OutOfFold]) -> OutOfFold:
    """Return the rows of all folds in the table's order."""
    order = torch.argsort(torch.cat([fold.rows for fold in folds]))
    return replace(
        folds[0],
        rows=torch.cat([fold.rows for fold in folds])[order],
        outputs=torch.cat([fold.outputs for fold in folds])[order],
        targets=torch.cat([fold.targets for fold in folds])[order],
        folds=torch.cat([fold.folds for fold in folds])[order],
    )
