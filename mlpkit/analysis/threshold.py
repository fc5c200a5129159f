"""The threshold: rows whose probability is above it are labelled as the second of two classes."""

import numpy as np
from torch import Tensor

from mlpkit.analysis.predict import Predictor
from mlpkit.config.problems import spell
from mlpkit.data.dataset import Split
from mlpkit.errors import ConfigError

CHOSEN_BY = ("f1", "balanced_accuracy")


def parse_threshold(text: str, predictor: Predictor) -> float:
    """Return the threshold that the user typed.

    Raises:
        ConfigError: it is not a number between 0 and 1, or the task has no threshold.
    """
    task, option = predictor.task, f"--threshold={spell(text)}"
    if task.name not in ("binary", "multilabel"):
        raise ConfigError(f"{option}: only for two classes or labels, the task is {task.name}; leave it out")
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        way = "; mlpkit evaluate --threshold best prints the best one" if text.startswith("best") else ""
        raise ConfigError(f"{option}: must be a number between 0 and 1{way}")
    return value


def choose_threshold(text: str, predictor: Predictor, val: Split | None) -> tuple[float, str]:
    """Return a threshold, and the score by which it was chosen; "" if the user typed it.

    Args:
        text: a number, best or best:balanced_accuracy.
        predictor: the model.
        val: the validation rows; None if there are none, or if they are the rows to score.

    Raises:
        ConfigError: the text is not valid, or there are no validation rows to choose a threshold on.
    """
    word, _, score = text.partition(":")
    if word != "best" or predictor.task.name != "binary":
        return parse_threshold(text, predictor), ""
    score = score or CHOSEN_BY[0]
    if score not in CHOSEN_BY:
        raise ConfigError(f"--threshold={spell(text)}: must be best:f1 or best:balanced_accuracy")
    if val is None:
        raise ConfigError(
            f"--threshold={text}: needs validation rows to choose on, and other rows to score; evaluate the "
            "test split of a dataset that has both, or give a number"
        )
    return best_threshold(predictor.on(val).outputs_in_blocks(val.inputs), val.targets, score), score


def best_threshold(outputs: Tensor, targets: Tensor, score: str) -> float:
    """Return the threshold with the highest score on some rows, which should be the validation rows.

    Args:
        outputs: (rows, 1) of a model of two classes.
        targets: (rows,) 0 or 1.
        score: f1 or balanced_accuracy.
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    y, p = targets.numpy(), outputs[:, 0].double().sigmoid().cpu().numpy()
    if score == "f1":
        precision, recall, thresholds = precision_recall_curve(y, p)
        values = (2 * precision * recall / np.maximum(precision + recall, 1e-300))[:-1]
    else:
        negative, positive, thresholds = roc_curve(y, p, drop_intermediate=False)
        values, thresholds = (positive - negative)[1:], thresholds[1:]  # the first threshold is infinite
    least = float(thresholds[int(values.argmax())])
    below = p[p < least]
    # Halfway to the next lower probability, so that the rows with the probability `least` are above it.
    middle = (least + float(below.max())) / 2 if len(below) else least / 2
    return min(max(middle, 1e-6), 1 - 1e-6)
