"""How a run ended: the summary, and the same for a person to read."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from mlpkit.architecture import architecture
from mlpkit.console import number, print_scores, print_weights, say
from mlpkit.experiment import Experiment
from mlpkit.models import count_parameters
from mlpkit.trainer import Trainer
from mlpkit.weights import readable_weights


def summarize(
    experiment: Experiment, trainer: Trainer, splits: Sequence[str], pruned: bool = False
) -> dict[str, Any]:
    """Return the content of summary.json: the last weights' scores, and the best weights'.

    Args:
        experiment: what was trained.
        trainer: where it stands.
        splits: those that are scored.
        pruned: whether a search has ended the run, which was not worth going on with.
    """
    engine, progress = experiment.engine, trainer.progress
    last = {name: engine.evaluate(name) for name in splits}
    best: dict[str, Any] = {
        "split": trainer.monitored,
        "score": trainer.task.monitor,
        "higher_is_better": trainer.task.higher_is_better,
        "value": progress.best_value,
        "epoch": progress.best_epoch,
        "step": progress.best_step,
    }
    if trainer.best_model is not None and progress.best_step == progress.step:
        best |= last  # the same weights
    elif trainer.best_model is not None:
        kept = engine.model_state()
        engine.load_model_state(trainer.best_model)
        best |= {name: engine.evaluate(name) for name in splits}
        engine.load_model_state(kept)
    stopped = progress.epoch < experiment.config.trainer.epochs
    return {
        "status": "pruned" if pruned else "stopped early" if stopped else "done",
        "task": trainer.task.name,
        "epochs": progress.epoch,
        "steps": progress.step,
        "train_seconds": trainer.seconds,
        **({"runs_together": experiment.runs} if experiment.runs > 1 else {}),
        "samples_per_second": progress.epoch * trainer.rows / max(trainer.seconds, 1e-9),
        "parameters": count_parameters(experiment.network),
        "monitored": f"{trainer.task.monitor} on {trainer.monitored}",
        **last,
        "best": best,
    }


def describe(summary: dict[str, Any]) -> list[str]:
    """Return the lines that say how a run ended."""
    best = summary["best"]
    lines = [
        f"{summary['status']}: {summary['epochs']} epochs, {summary['steps']} steps in "
        f"{summary['train_seconds']:.2f} s ({summary['samples_per_second']:,.0f} samples/s)"
    ]
    if best["value"] is not None:
        value = f"{best['score']} {number(best['value'])}"
        others = [
            f"{name} {best['score']} {number(best[name][best['score']])}"
            for name in ("val", "test")
            if name in best and name != best["split"]
        ]
        scores = ", ".join([f"{best['split']} {value}", *others])
        lines.append(f"best epoch by {best['split']}: {best['epoch']} ({scores})")
    if best["split"] != "val":
        lines.append(f"no validation split (dataset.val_fraction=0): {best['split']} was monitored")
    return lines


def print_outcome(console: Console, experiment: Experiment, summary: dict[str, Any]) -> None:
    """Print how a run ended: scores of each split, the best epoch, and the weights of a small model."""
    outcome, *more = describe(summary)
    console.print()
    say(console, outcome)
    scores = {name: summary[name] for name in experiment.dataset.splits if name in summary}
    print_scores(console, f"epoch {summary['epochs']}", scores)
    for line in more:
        say(console, line)
    signature, state = experiment.dataset.signature, experiment.network.state_dict()
    layers = architecture(experiment.config, signature)
    if weights := readable_weights(layers, signature, lambda name: state[name].double().tolist()):
        print_weights(console, f"epoch {summary['epochs']}", weights)
