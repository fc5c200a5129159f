"""Puts the loss of a training step into words: its formula, and the predictions that it compares."""

import inspect
import re
from collections.abc import Iterator

import torch
from torch import Tensor

from mlpkit.analysis.explain import Step
from mlpkit.analysis.explain_text import Names, Part, make_table
from mlpkit.config.loss import LossConfig
from mlpkit.config.plugins import is_own
from mlpkit.config.registry import first_doc_line


def describe_loss(step: Step, names: Names) -> Iterator[Part]:
    """Yield the parts of the loss."""
    experiment = step.experiment
    loss, task, network = experiment.loss, experiment.task, experiment.network
    outputs, last = step.outputs, names.symbol("z", names.layers - 1)
    with torch.no_grad():
        predictions = network.all_values(outputs)
        probabilities = task.probabilities(predictions) if task.probabilities else None
    columns: dict[str, Tensor | None] = {last: outputs}
    if probabilities is None:
        if not isinstance(network.unscaling, torch.nn.Identity):
            targets = step.targets.repeat(1, 1 + len(loss.ends))
            columns |= {"prediction": predictions, "target": targets}
        columns["y"] = step.expected
    else:
        columns["p"] = probabilities[:, -outputs.shape[1] :]
        columns["y"] = step.expected
    is_one = outputs.shape[1] == 1
    weighted = "" if step.weights is None else "w "
    losses: dict[str, Tensor | None] = {"w": step.weights, f"{weighted}ℓ": step.losses}
    columns |= losses if is_one else {}
    about, text = _about_loss(step)
    lines = [
        f"loss={loss.name}: {loss.on_output(task.name)}{about}",
        *_about_columns(columns, step, f"ŷ is {last}; " if "ŷ" in text + gradient_formula(step) else ""),
        f"loss = {step.loss:.7g}"
        + (f", the mean of {weighted}ℓ over the rows" if len(step.rows) > 1 else ""),
    ]
    mean = f"Σ {weighted}ℓ / n" if len(step.rows) > 1 else f"{weighted}ℓ"
    formulas = [*([(f"ℓ = {text}", "")] if text else ()), (f"loss = {mean}", "")]
    yield Part("Loss", tuple(lines), tuple(formulas), make_table("", names.each(names.outputs), columns))
    if not is_one:
        rows = [f"row {row + 1}" for row in step.rows]
        yield Part("Loss of each row", table=make_table("", rows, losses))


def _about_loss(step: Step) -> tuple[str, str]:
    """Return what torch calls the loss, or a plug-in's description, in brackets; and the formula of ℓ."""
    schema = type(step.experiment.loss)
    line = first_doc_line(schema)
    if is_own(schema):
        return (f" ({line})" if line else ""), ""
    found = re.fullmatch(r"(.*?)(?:, for [^(]*| for logits z)?( \(torch \w+\))?(?:;.*)?", line)
    assert found is not None
    formula = found[1].replace("Mean over the targets of ", "" if step.outputs.shape[1] == 1 else "mean of ")
    return found[2] or "", formula


def _about_columns(columns: dict[str, Tensor | None], step: Step, prediction: str) -> Iterator[str]:
    schema = step.experiment.dataset.input_schema
    if "p" in columns and schema.classes:
        second = f" of the class {schema.classes[1]}" if len(schema.classes) == 2 else " of the class"
        yield f"p is the probability{second}; y is 1 if the row is of it, else 0"
    if "p" not in columns:
        scaled = " as the loss takes it, scaled like the output" if "prediction" in columns else ""
        yield f"{prediction}y is the target{scaled}"
    if step.weights is not None:
        yield "w is the row's weight"


def gradient_formula(step: Step) -> str:
    """Return the gradient of a row's loss as the loss's own docstring gives it; "" if it gives none."""
    loss, width = step.experiment.loss, step.outputs.shape[1]
    has_own = type(loss).gradient is not LossConfig.gradient
    method = type(loss).gradient if has_own else type(loss).by_hand
    text = (inspect.getdoc(method) or "").split("\n", 1)[0].rstrip(".")
    for word in ("width", "labels"):
        if width == 1 and text.endswith(f" / {word}"):
            text = re.sub(r"^\(([^()]*(?:\([^()]*\))?[^()]*)\)$", r"\1", text.removesuffix(f" / {word}"))
        text = text.replace(f" / {word}", f" / {width}")
    return "" if text.startswith(("Return", "See", "With")) else text
