"""Prints the result of a finished run."""

from typing import Any

from rich.console import Console

from mlpkit.analysis.baselines import beats
from mlpkit.analysis.diagnose import baseline_not_beaten, diagnose
from mlpkit.analysis.evidence import read_evidence
from mlpkit.analysis.network_facts import find_facts
from mlpkit.analysis.weights import readable_weights
from mlpkit.config.problems import plural
from mlpkit.config.run import TrainerConfig
from mlpkit.engines.experiment import Experiment
from mlpkit.errors import DataError
from mlpkit.folders.run_folder import RunFolder
from mlpkit.models.architecture import architecture
from mlpkit.system.console import number, print_scores, print_weights, say


def outcome_lines(summary: dict[str, Any], trainer: TrainerConfig) -> list[str]:
    """Return the result of a run as lines: status, speed, best epoch and its scores."""
    best, status = summary["best"], summary["status"]
    if status == "stopped early":
        status += f" ({trainer.ended_by(summary['train_seconds'])})"
    lines = [
        f"{status}: {plural(summary['epochs'], 'epoch')}, {plural(summary['steps'], 'step')} in "
        f"{summary['train_seconds']:.2f} s ({summary['samples_per_second']:,.0f} samples/s)"
    ]
    if not summary["epochs"]:
        lines.append("untrained: the scores of the first weights; mlpkit resume trainer.epochs=N trains them")
    elif best["value"] is not None:
        value = f"{best['score']} {number(best['value'])}"
        others = [
            f"{name} {best['score']} {number(best[name][best['score']])}"
            for name in ("val", "test")
            if name in best and name != best["split"]
        ]
        scores = ", ".join([f"{best['split']} {value}", *others])
        which = "last epoch" if trainer.best_epoch == "last" else f"best epoch by {best['split']}"
        lines.append(f"{which}: {best['epoch']} ({scores})")
        if trainer.swa is not None and best["epoch"] and summary["epochs"] <= trainer.before_swa:
            first = trainer.before_swa + 1
            lines.append(
                f"warning: trainer.swa={trainer.swa} averaged no weights: it begins at epoch {first}"
            )
    if final := summary.get("final"):
        split, baseline = final["split"], final["baseline"]
        low, high = map(number, final["intervals"][best["score"]])
        lines.append(f"{split} {best['score']}: 95 % interval {low}–{high}")
        if summary["epochs"] and not final["weighted"] and not beats(best[split], baseline):
            name = baseline["name"]
            score = "accuracy" if "accuracy" in baseline else "r2"
            lines.append(f"warning: {split} {score} not better than predicting the {name} for every row")
    if best["split"] != "val" and trainer.best_epoch != "last":
        lines.append(f"no validation rows: {best['split']} was monitored")
    return lines


def print_outcome(console: Console, experiment: Experiment, summary: dict[str, Any]) -> None:
    """Print a run's status, the scores of each split, the best epoch, and the weights of a small model."""
    status, *more = outcome_lines(summary, experiment.config.trainer)
    console.print()
    say(console, status)
    scores = {name: summary[name] for name in experiment.dataset.splits if name in summary}
    if final := summary.get("final"):
        scores[f"{final['baseline']['name']} on {final['split']}"] = final["baseline"]
    print_scores(console, f"epoch {summary['epochs']}", scores)
    for line in more:
        say(console, line)
    input_schema, state = experiment.dataset.input_schema, experiment.network.state_dict()
    layers = architecture(experiment.config, input_schema)
    if experiment.members:  # their weights are in no common order: a mean of them would say nothing
        return
    if weights := readable_weights(layers, input_schema, lambda name: state[name].double().tolist()):
        print_weights(console, f"epoch {summary['epochs']}", weights)


def diagnosis(experiment: Experiment, folder: RunFolder) -> list[str]:
    """Return what the curves of a finished run show, as lines; the outcome has told of the baseline.

    Args:
        experiment: holds the network, with the last weights.
        folder: the run's, with its metrics and summary.
    """
    try:
        facts = find_facts(experiment.networks, experiment.task, experiment.dataset.shown())
        return list(map(str, diagnose(read_evidence(folder.path, facts), told=(baseline_not_beaten,))))
    except DataError:  # somebody has changed the files; the run itself is done
        return []
