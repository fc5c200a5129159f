"""How `mlpkit fit` compared models, in words and numbers for a terminal and a report."""

from pathlib import Path

from mlpkit.analysis.fit import SIGNIFICANT, Judged
from mlpkit.analysis.fit_file import FitComparison
from mlpkit.config.problems import plural


def comparison_of(judged: Judged, folds: int, seeds: int, warnings: list[str], folder: Path) -> FitComparison:
    """Return the candidates, best first, as texts.

    Args:
        judged: the candidates.
        folds: of the cross-validation.
        seeds: of each model and fold.
        warnings: what looks wrong.
        folder: the cross-validation's.
    """
    regression = judged.task.probabilities is None
    score, constant = ("R²", "the mean") if regression else ("log loss", "the majority")
    accuracy = [] if regression else ["accuracy"]
    best, rows = judged.candidates[0], []
    for candidate, p in zip(judged.candidates, judged.p_values, strict=True):
        value = 1 - candidate.loss if regression else candidate.loss
        cells = [candidate.name, f"{value:z.4f}", f"{candidate.half_width:.4f}"]
        cells += [] if candidate.accuracy is None else [f"{candidate.accuracy:.4f}"]
        sure = "" if p is None else "yes" if p < SIGNIFICANT else "no"
        rows.append([*cells, "" if p is None else f"{candidate.loss - best.loss:.4f}", sure])
    verdict = (
        f"{judged.winner.name} is better than predicting {constant}"
        if judged.beats_constant()
        else f"warning: {judged.winner.name} is not shown to be better than predicting {constant}; the "
        "columns may say nothing of the target"
    )
    return FitComparison(
        about=f"cross-validation of {plural(judged.rows, 'row')}: {folds} folds, {plural(seeds, 'seed')}",
        titles=["model", score, "± 95 %", *accuracy, "worse by", "sure"],
        rows=rows,
        lines=[
            f"sure: a paired t-test over the rows finds the difference (p < {SIGNIFICANT}, Bonferroni; "
            "test and interval allow for folds that share training rows)",
            verdict,
        ],
        warnings=warnings,
        folder=str(folder),
    )
