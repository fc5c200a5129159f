"""What repeats a setting: seeds, or the folds of a cross-validation."""

from collections.abc import Iterable, Mapping, Sequence

from mlpkit.analysis.keys import Values, reader
from mlpkit.analysis.statistics import mean
from mlpkit.folders.results import RunResult

REPEATS = ("seed", "dataset.fold")  # keys whose values repeat a setting: they tell nothing of it


def folds_of(runs: Iterable[RunResult]) -> int:
    """Return the number of folds of the cross-validation that the runs belong to; 0 if they are none.

    Seeds of one fold are none: they differ in nothing but the seed.
    """
    found = list(map(reader(("dataset.folds", "dataset.fold")), runs))
    numbers = [folds for folds, fold in found if isinstance(folds, int) and isinstance(fold, int)]
    return min(numbers) if len(set(found)) > 1 and len(numbers) == len(found) else 0


def overlap_of(folds: int) -> float:
    """Return test rows / training rows of a cross-validation, by which its folds overlap; 0 for 0 folds.

    The models of two folds have most of their training rows in common, so their scores are not independent,
    and s² / n is too small a variance of their mean. Nadeau and Bengio (2003) take s² · (1 / n + this ratio).
    """
    return 1 / (folds - 1) if folds else 0.0


def fold_means(scores: Mapping[Values, float], keys: Sequence[str]) -> dict[Values, float]:
    """Return the mean score of each fold. Seeds of one fold share all their rows: they count once.

    Args:
        scores: of runs, by the values of the keys.
        keys: the keys; those of the dataset tell the folds.
    """
    by_fold: dict[Values, list[float]] = {}
    for values, score in scores.items():
        of_data = (value for key, value in zip(keys, values, strict=True) if key.startswith("dataset."))
        by_fold.setdefault(tuple(of_data), []).append(score)
    return {values: mean(each) for values, each in by_fold.items()}
