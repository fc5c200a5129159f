"""The title, the caption and the legend of a film."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlpkit.analysis.predict import Predictor
from mlpkit.data.dataset import Dataset
from mlpkit.plots.film_scene import Scene
from mlpkit.plots.palette import MANY_CLASSES, TWO_CLASSES, VALUES
from mlpkit.plots.words import activation_words, loss_words, model_words

_MOST_NAMED = 16  # classes in the legend
_TITLES = {
    "fit": "The fit",
    "values": "Predicted values",
    "probability": "Decision boundary",
    "classes": "Decision regions",
}


@dataclass(frozen=True)
class FilmWords:
    """The texts of a film.

    Attributes:
        title: what is shown of which data and model.
        caption: what the picture's parts mean.
        loss: the loss by name.
        legend: (dot, square, bar, rule or dashed; CSS colour; text).
    """

    title: str
    caption: str
    loss: str
    legend: Sequence[tuple[str, str, str]]


def film_words(scenes: Sequence[Scene], dataset: Dataset, predictor: Predictor) -> FilmWords:
    """Return the texts of a film; the dataset and the model are those of its first run."""
    first, view = scenes[0], scenes[0].view
    data = dataset.title or dataset.name
    title = f"{_TITLES[view.kind]} over the epochs: {data}, {model_words(predictor)}"
    if len(scenes) > 1:
        title = f"{_TITLES[view.kind]} over the epochs: {data}, {len(scenes)} runs"
    parts, loss = [view.note], loss_words(predictor)
    legend: list[tuple[str, str, str]] = []
    if view.kind == "values":
        low, high = (f"{end:.4g}" for end in view.range)
        bar = f"linear-gradient(90deg, {', '.join(VALUES)})"
        legend.append(("bar", bar, f"{dataset.input_schema.targets[0]}, from {low} to {high}"))
        parts.append("background: predicted values; points: true ones")
    elif view.kind == "fit":
        parts.append("curve: predicted values")
    else:
        activation = activation_words(predictor)
        if view.kind == "probability":
            parts.append(f"background: probability ({activation}); line: 0.5")
        else:
            parts.append(f"background: most probable class ({activation}), paler if less sure")
        colours = TWO_CLASSES if len(view.classes) == 2 else MANY_CLASSES
        for label, name in enumerate(view.classes[:_MOST_NAMED]):
            legend.append(("square", colours[label % len(colours)], name))
        if len(view.classes) > _MOST_NAMED:
            legend.append(("square", "transparent", f"and {len(view.classes) - _MOST_NAMED} more classes"))
    drawn, count = first.units.shape[1], first.all_units
    if drawn:
        some = f"the first {drawn} of {count} units" if count > drawn else "each unit"
        legend.append(("dashed", "currentColor", f"where {some} of the first hidden layer is 0"))
    for split in view.points:
        if view.kind == "fit":
            legend.append(("dot" if split == "train" else "square", f"var(--{split})", f"{split} rows"))
    if view.kind != "fit":
        parts.append("round: train rows")
        if others := [split for split in view.points if split != "train"]:
            parts.append(f"square: {' and '.join(others)} rows")
    for split in first.curves:
        legend.append(("rule", f"var(--{split})", f"{split} {loss}"))
    if any(scene.best for scene in scenes):
        parts.append(f"grey line: best epoch by {dataset.monitored} {predictor.task.monitor}")
    return FilmWords(title, "; ".join(part for part in parts if part), loss, legend)
