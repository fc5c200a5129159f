"""What pictures call losses, models and weights."""

from torch import nn

from mlpkit.analysis.predict import Predictor
from mlpkit.config.loss import OUTPUT_ACTIVATIONS


def loss_words(predictor: Predictor) -> str:
    """Return the loss that the model was trained with, in words."""
    words, is_scaled = predictor.loss.in_words(), not isinstance(predictor.network.unscaling, nn.Identity)
    return f"{words} (scaled targets)" if is_scaled else words


def activation_words(predictor: Predictor) -> str:
    """Return the function that makes the outputs probabilities."""
    return OUTPUT_ACTIVATIONS[predictor.input_schema.task]


def model_words(predictor: Predictor) -> str:
    """Return the kind of model; for an MLP, also its hidden widths."""
    widths = [layer.out_features for layer in predictor.network.modules() if isinstance(layer, nn.Linear)]
    if len(widths) > 1:
        return f"mlp {widths[:-1]}"
    return "linear" if predictor.task.probabilities is None else "logistic"


def weights_words(predictor: Predictor) -> str:
    """Return whose weights a picture shows: weights of epoch 812 (best by val); empty if it is not known."""
    if predictor.epoch is None:
        return ""
    if predictor.epoch == 0:
        return "untrained weights"
    words = f"weights of epoch {predictor.epoch:,}"
    return f"{words} ({predictor.chosen})" if predictor.chosen else words
