"""Computes the final scores of finished runs, with the last and the best weights, and writes them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlpkit.analysis.baselines import constant_name, constant_outputs, scores_of_outputs
from mlpkit.analysis.evaluate import intervals_of
from mlpkit.analysis.predict import predictor_of
from mlpkit.engines.engine import Engine
from mlpkit.errors import MlpkitError, RunInterruptedError
from mlpkit.folders.state import Progress, Scores
from mlpkit.system.atomic_write import flushed_together
from mlpkit.training.recorder import Recorder
from mlpkit.training.records import as_list
from mlpkit.training.stop import StopRequest


@dataclass(frozen=True)
class FinishedRuns:
    """The state of runs that finish at the same time.

    Attributes:
        progress: the progress of each run.
        seconds: training time.
        together: number of runs that were trained together.
        pruned: whether a search has pruned them.
        alone: whether the process trains this one run and nothing else.
    """

    progress: Sequence[Progress]
    seconds: float
    together: int
    pruned: bool = False
    alone: bool = False


def try_each(runs: Sequence[int], act: Callable[[int], None], together: bool = True) -> dict[int, Exception]:
    """Call `act` for each run; return the errors by run.

    Args:
        runs: the runs.
        act: writes files of a run.
        together: whether the files must be on the disk at the end; see `flushed_together`.
    """
    errors: dict[int, Exception] = {}
    with flushed_together(together and len(runs) > 1):
        for run in runs:
            try:
                act(run)
            except MlpkitError as error:
                errors[run] = error
    return errors


def write_results(
    engine: Engine, recorders: Sequence[Recorder], finished: FinishedRuns, stop: StopRequest
) -> dict[Recorder, BaseException | None]:
    """Score finished runs, write their summaries and draw their plots.

    Args:
        engine: holds exactly these runs.
        recorders: the runs' recorders, in the engine's order.
        finished: the runs' state.
        stop: set when a stop signal arrives; nothing more is written then.

    Returns:
        Each run's error, or None, by its recorder.
    """
    errors: dict[Recorder, BaseException | None] = dict.fromkeys(recorders)

    def for_each(act: Callable[[int, Recorder], None]) -> None:
        for run, recorder in enumerate(recorders):
            if errors[recorder] is not None:
                continue
            try:
                stop.check()
                # The last checkpoint is saved: a signal may stop a lone run in the middle of a write.
                stop.at_once = finished.alone
                act(run, recorder)
            except RunInterruptedError as error:
                reason = f"interrupted; {recorder.resume_hint()}"
                errors[recorder] = recorder.fail(RunInterruptedError(error.signal_number, reason))
            except Exception as error:  # a failed run does not stop the others
                errors[recorder] = recorder.fail(error)
            finally:
                stop.at_once = False

    summaries = _summaries(engine, recorders, finished)
    with flushed_together(len(recorders) > 1):
        progress, seconds = finished.progress, finished.seconds
        for_each(lambda run, recorder: recorder.finish(summaries[run], progress[run], seconds))
        if any(recorder.config.run.plots for recorder in recorders):
            engine.swap_best()
            for_each(lambda run, recorder: recorder.draw(progress[run]))
        for_each(lambda run, recorder: recorder.close())
    return errors


def _summaries(engine: Engine, recorders: Sequence[Recorder], finished: FinishedRuns) -> list[dict[str, Any]]:
    """Return the content of each run's summary.json."""
    splits = recorders[0].splits
    last = _scores(engine, splits)
    best = last
    swap = not all(progress.best_is_now for progress in finished.progress)
    if swap:
        engine.swap_best()
        best = _scores(engine, splits)
    in_memory = all(recorder.experiment.dataset.disk is None for recorder in recorders)
    final = {"final": _final_split(engine)} if finished.alone and in_memory else {}
    if swap:
        engine.swap_best()
    return [
        _summary(engine, run, finished, last[run], last[run] if progress.best_is_now else best[run]) | final
        for run, progress in enumerate(finished.progress)
    ]


def _scores(engine: Engine, splits: Sequence[str]) -> list[dict[str, Scores]]:
    """Return each run's scores by split."""
    columns = {split: engine.scores(engine.evaluate(split), split) for split in splits}
    listed = {
        split: {name: as_list(values) for name, values in scores.items()} for split, scores in columns.items()
    }
    return [
        {split: {name: values[run] for name, values in scores.items()} for split, scores in listed.items()}
        for run in range(engine.runs)
    ]


def _summary(
    engine: Engine, run: int, finished: FinishedRuns, last: Mapping[str, Scores], best: Mapping[str, Scores]
) -> dict[str, Any]:
    experiment, progress, task = engine.experiments[run], finished.progress[run], engine.task
    stopped = progress.epoch < experiment.config.trainer.epochs
    monitored = experiment.dataset.monitored
    best_value = progress.best_value if progress.epoch else last[monitored][task.monitor]
    return {
        "status": "pruned" if finished.pruned else "stopped early" if stopped else "done",
        "task": task.name,
        "epochs": progress.epoch,
        "steps": progress.step,
        "train_seconds": finished.seconds,
        **({"runs_together": finished.together} if finished.together > 1 else {}),
        "samples_per_second": engine.steps.rows_until(progress.step) / max(finished.seconds, 1e-9),
        "parameters": experiment.parameters,
        "monitored": f"{task.monitor} on {monitored}",
        **last,
        "best": {
            "split": monitored,
            "score": task.monitor,
            "higher_is_better": task.higher_is_better,
            "value": best_value,
            "epoch": progress.best_epoch,
            "step": progress.best_step,
            **best,
        },
    }


def _final_split(engine: Engine) -> dict[str, Any]:
    """Return intervals of a lone run's scores on its final split, and the scores of a constant prediction.

    Args:
        engine: holds the best weights.
    """
    experiment = engine.experiments[0]
    task, dataset = experiment.task, experiment.dataset
    split = "test" if "test" in dataset.splits else dataset.monitored
    rows, predictor = dataset.splits[split], predictor_of(experiment)
    intervals = intervals_of(predictor, rows, predictor.on(rows).outputs(rows.inputs))
    constant = constant_outputs(task, dataset.splits["train"].targets, dataset.input_schema.width)
    baseline = scores_of_outputs(task, constant, rows.targets)
    return {
        "split": split,
        "weighted": bool(experiment.class_weights),  # then accuracy is not what training aims at
        "intervals": {name: list(ends) for name, ends in intervals.items()},
        "baseline": {"name": constant_name(task), **baseline},
    }
