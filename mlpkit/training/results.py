"""What runs have come to: final scores of their last weights and of their best ones, written down."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlpkit.engines.engine import Engine
from mlpkit.errors import MlpkitError, RunInterruptedError
from mlpkit.models.torch_network import count_parameters
from mlpkit.runs.state import Progress, Scores
from mlpkit.system.atomic_write import flushed_together
from mlpkit.training.recorder import Recorder
from mlpkit.training.records import as_list
from mlpkit.training.stop import StopRequest


@dataclass(frozen=True)
class Ending:
    """Where runs that end together are.

    Attributes:
        progress: of each.
        seconds: of training.
        together: how many runs the same steps have trained.
        pruned: whether a search has ended them, since they were not worth going on with.
        alone: the process trains this one run and nothing else.
    """

    progress: Sequence[Progress]
    seconds: float
    together: int
    pruned: bool = False
    alone: bool = False


def attempt(runs: Sequence[int], act: Callable[[int], None]) -> dict[int, Exception]:
    """Do something with some runs; return what went wrong, by run."""
    errors: dict[int, Exception] = {}
    with flushed_together(len(runs) > 1):
        for run in runs:
            try:
                act(run)
            except MlpkitError as error:
                errors[run] = error
    return errors


def write_results(
    engine: Engine, recorders: Sequence[Recorder], ending: Ending, stop: StopRequest
) -> dict[Recorder, BaseException | None]:
    """Score runs that have ended, and let each write its summary and draw its pictures.

    Args:
        engine: holds these runs and no others.
        recorders: of the runs.
        ending: where they are.
        stop: a request to stop; nothing more is written then.

    Returns:
        Why a run has failed, or None, by its recorder.
    """
    ended: dict[Recorder, BaseException | None] = dict.fromkeys(recorders)

    def let_each(act: Callable[[int, Recorder], None]) -> None:
        for run, recorder in enumerate(recorders):
            if ended[recorder] is not None:
                continue
            try:
                stop.check()
                # All that was trained has been saved: a signal ends what a lone run still writes at once.
                stop.at_once = ending.alone
                act(run, recorder)
            except RunInterruptedError as error:
                interrupted = RunInterruptedError(error.signal_number, f"interrupted; {recorder.way_on()}")
                ended[recorder] = recorder.fail(interrupted)
            except Exception as error:  # one run's trouble is not the others'
                ended[recorder] = recorder.fail(error)
            finally:
                stop.at_once = False

    summaries = _summaries(engine, recorders, ending)
    with flushed_together(len(recorders) > 1):
        let_each(lambda run, recorder: recorder.finish(summaries[run], ending.progress[run], ending.seconds))
        if any(recorder.config.run.plots for recorder in recorders):
            engine.swap_best()
            let_each(lambda run, recorder: recorder.draw(ending.progress[run]))
        let_each(lambda run, recorder: recorder.close())
    return ended


def _summaries(engine: Engine, recorders: Sequence[Recorder], ending: Ending) -> list[dict[str, Any]]:
    """Return the content of each run's summary.json."""
    splits = recorders[0].splits
    last = _scores(engine, splits)
    best = last
    if not all(progress.best_is_now for progress in ending.progress):
        engine.swap_best()
        best = _scores(engine, splits)
        engine.swap_best()
    return [
        _summary(engine, run, ending, last[run], last[run] if progress.best_is_now else best[run])
        for run, progress in enumerate(ending.progress)
    ]


def _scores(engine: Engine, splits: Sequence[str]) -> list[dict[str, Scores]]:
    """Return each run's scores by split."""
    columns = {split: engine.scores(engine.evaluate(split), split) for split in splits}
    listed = {split: {name: as_list(of) for name, of in scores.items()} for split, scores in columns.items()}
    return [
        {split: {name: of[run] for name, of in scores.items()} for split, scores in listed.items()}
        for run in range(engine.runs)
    ]


def _summary(
    engine: Engine, run: int, ending: Ending, last: Mapping[str, Scores], best: Mapping[str, Scores]
) -> dict[str, Any]:
    experiment, progress, task = engine.experiments[run], ending.progress[run], engine.task
    stopped = progress.epoch < experiment.config.trainer.epochs
    monitored = experiment.dataset.monitored
    return {
        "status": "pruned" if ending.pruned else "stopped early" if stopped else "done",
        "task": task.name,
        "epochs": progress.epoch,
        "steps": progress.step,
        "train_seconds": ending.seconds,
        **({"runs_together": ending.together} if ending.together > 1 else {}),
        "samples_per_second": progress.epoch * engine.data.rows / max(ending.seconds, 1e-9),
        "parameters": count_parameters(experiment.network),
        "monitored": f"{task.monitor} on {monitored}",
        **last,
        "best": {
            "split": monitored,
            "score": task.monitor,
            "higher_is_better": task.higher_is_better,
            "value": progress.best_value,
            "epoch": progress.best_epoch,
            "step": progress.best_step,
            **best,
        },
    }
