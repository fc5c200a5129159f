"""The scores of a model card: those in the run's summary, or of what the export adds to it, computed anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from mlpkit.analysis.baselines import evaluate_baselines
from mlpkit.analysis.evaluate import evaluate, scores_of
from mlpkit.analysis.matching_data import choose_split
from mlpkit.analysis.model_facts import Scores, final_of, interval_text, read_or_empty, with_baseline
from mlpkit.analysis.predict import Predictor, members_of
from mlpkit.data.dataset import Dataset
from mlpkit.folders.checkpoint import Checkpoint
from mlpkit.folders.find_run import run_of
from mlpkit.folders.results import summarized_scores
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_record import read_summary
from mlpkit.tasks import Task

Members = Sequence[tuple[Path, Checkpoint]]


@dataclass(frozen=True)
class CardScores:
    """A table of scores.

    Attributes:
        about: what it shows.
        rows: scores by name, by what has them.
        note: what follows the table.
        split: the split whose rows were scored anew; "" if the scores are those of the summaries.
    """

    about: str
    rows: Mapping[str, Scores]
    note: str = ""
    split: str = ""


def card_scores(predictor: Predictor, members: Members, dataset: Dataset | None, task: Task) -> CardScores:
    """Return the scores of a model: of one run those of its summary; new ones of an ensemble, with a
    threshold or a temperature.

    Args:
        predictor: the model; its task has the threshold.
        members: the path and the checkpoint of each run.
        dataset: the data that they were trained on; None if it is not there any more.
        task: the task with the usual threshold of 0.5.
    """
    stored = members[0][1]
    is_alone = len(members) == 1
    if is_alone and predictor.task is task and stored.temperature == 1:
        return _of_run(*members[0])
    if dataset is None:
        why = "the data was not there when this card was written"
    elif stored.other_data(dataset):
        why = "the data has changed since training"
    elif any(member.fingerprint != stored.fingerprint for _, member in members):
        why = "its members were trained on different rows"
    else:
        return _anew(predictor, dataset, task)
    if is_alone:
        found = _of_run(*members[0])
        return CardScores(
            f"With a threshold of 0.5 and before calibration, since {why}:", found.rows, found.note
        )
    return _of_members(members, why)


def _anew(predictor: Predictor, dataset: Dataset, task: Task) -> CardScores:
    name, rows = choose_split(dataset, None)
    found, members = evaluate(predictor, name, rows), members_of(predictor)
    lows, highs = ({score: ends[place] for score, ends in found.intervals.items()} for place in (0, 1))
    who = "the model" if len(members) == 1 else f"the ensemble of {len(members)}"
    table: dict[str, Scores] = {who: found.scores, "95 % from": lows, "95 % to": highs}
    if len(members) > 1 and not rows.folds:
        each = [scores_of(member, rows, member.outputs_in_blocks(rows.inputs)) for member in members]
        table |= _spread("its members", each)
    if name != "train" and not rows.folds:
        baselines = evaluate_baselines(predictor, dataset, rows, found.draws, task)
        table |= {baseline: of.scores for baseline, of in baselines.items()}
    seen = ", on which it was trained: new rows will score worse" if name == "train" else ""
    return CardScores(f"On the {len(rows):,} {name} rows{seen}:", table, split=name)


def _of_run(path: Path, stored: Checkpoint) -> CardScores:
    """Return the scores in a run's summary: by split, and of a constant prediction."""
    splits = _summarized(path, stored)
    if not splits:
        return CardScores("The run has no summary of its scores.", {})
    final = final_of(read_or_empty(read_summary, RunFolder(run_of(path))))
    return CardScores("", with_baseline(splits, final), interval_text(final) if final else "")


def _of_members(members: Members, why: str) -> CardScores:
    """Return the spread of the scores in the members' summaries, by split."""
    about, found = f"The ensemble was not scored: {why}.", [_summarized(*member) for member in members]
    table: dict[str, Scores] = {}
    for split in found[0]:
        if all(split in of for of in found):
            table |= _spread(f"{split}: members", [of[split] for of in found])
    return CardScores(f"{about} The scores of its {len(members)} members alone:" if table else about, table)


def _spread(who: str, each: Sequence[Mapping[str, float]]) -> dict[str, Scores]:
    """Return the lowest, the mean and the highest value of each score."""
    values = {name: [of[name] for of in each] for name in each[0] if all(name in of for of in each)}
    return {
        f"{who}, lowest": {name: min(of) for name, of in values.items()},
        f"{who}, mean": {name: fmean(of) for name, of in values.items()},
        f"{who}, highest": {name: max(of) for name, of in values.items()},
    }


def _summarized(path: Path, stored: Checkpoint) -> dict[str, dict[str, float]]:
    if path.parent.name != "checkpoints":
        return {}
    which = "best" if stored.is_best else "last"
    return summarized_scores(RunFolder(run_of(path)), which, stored.state.progress.step) or {}
