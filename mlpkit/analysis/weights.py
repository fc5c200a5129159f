"""The weights of a small model, with readable names."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from mlpkit.config.model import Layer
from mlpkit.data.input_schema import InputSchema
from mlpkit.models.architecture import RATES, UNSCALINGS, count, parameters

FEW = 10  # largest number of parameters that is shown

Read = Callable[[str], Any]  # name of a tensor -> its values as nested lists


def readable_weights(layers: list[Layer], input_schema: InputSchema, read: Read) -> list[tuple[str, float]]:
    """Return (name, value) of each weight and bias; an empty list if there are more than FEW.

    The weights of a linear model are named after the features. If the model standardises, they are converted
    to raw inputs and outputs: w = w' · σ_y / σ_x and b = b' · σ_y + μ_y - Σ w μ_x. A target that the model
    transforms, or whose logarithm it predicts, stays so, as its name says: log(price).

    Args:
        layers: the layers of the model.
        input_schema: the model's input schema.
        read: returns the values of a tensor.
    """
    if count(layers) > FEW:
        return []
    trained = [layer for layer in layers if layer.parameters]
    is_linear = [layer.kind for layer in trained] == ["Linear"] and "weight" in trained[0].parameters
    has_others = trained and trained[-1].out_features > input_schema.width  # see `LossConfig.ends`
    if is_linear and not has_others and len(input_schema.features) <= FEW:
        return list(_raw(layers, trained[0], input_schema, read))
    named = []
    for name, shape in parameters(layers).items():
        values = read(name)
        for index in product(*map(range, shape)):
            value = values
            for position in index:
                value = value[position]
            named.append((f"{name}{list(index)}", float(value)))
    return named


def _raw(
    layers: list[Layer], layer: Layer, input_schema: InputSchema, read: Read
) -> Iterator[tuple[str, float]]:
    ends = {
        end.name: list(zip(read(f"{end.name}.mean"), read(f"{end.name}.std"), strict=True))
        for end in layers
        if end.name in ("scaling", "unscaling")
    }
    columns = ends.get("scaling", [(0.0, 1.0)] * layer.in_features)
    outputs = ends.get("unscaling", [(0.0, 1.0)] * layer.out_features)
    weights = read(f"{layer.name}.weight")
    biases = read(f"{layer.name}.bias") if "bias" in layer.parameters else [0.0] * layer.out_features
    rows = input_schema.classes[-layer.out_features :] or input_schema.targets
    transforms = {kind: name for name, kind in UNSCALINGS.items() if name != "none"} | {RATES: "log"}
    if transform := next((transforms[end.kind] for end in layers if end.kind in transforms), None):
        rows = tuple(f"{transform}({name})" for name in rows)
    for name, row, bias, (mean, std) in zip(rows, weights, biases, outputs, strict=True):
        prefix = f"{name}: " if len(rows) > 1 or transform else ""
        raw = [weight * std / column_std for weight, (_, column_std) in zip(row, columns, strict=True)]
        offset = sum(weight * column_mean for weight, (column_mean, _) in zip(raw, columns, strict=True))
        for feature, weight in zip(input_schema.features, raw, strict=True):
            yield f"{prefix}{feature}", weight
        yield f"{prefix}bias", bias * std + mean - offset
