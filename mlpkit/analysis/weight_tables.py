"""All weights of a small network as tables, layer by layer."""

import math
from collections.abc import Iterator, Sequence
from itertools import product

from mlpkit.analysis.number_table import Table, cut, tables_by_unit
from mlpkit.analysis.weights import Read
from mlpkit.config.loss import LossConfig
from mlpkit.config.model import Layer, Shape
from mlpkit.data.input_schema import InputSchema
from mlpkit.errors import ConfigError
from mlpkit.models.architecture import count

MOST = 1000  # parameters


def weight_tables(
    layers: Sequence[Layer], schema: InputSchema, read: Read, loss: LossConfig
) -> Iterator[Table]:
    """Yield tables of the weights and biases of each layer; the first heading of each is the layer's name.

    A linear layer has a column for each unit and a row for each of its inputs. Features, targets and classes
    are named. The scaling layers at both ends are shown too: the others read scaled inputs.

    Args:
        layers: the layers of the model.
        schema: the model's input schema.
        read: returns the values of a tensor as nested lists.
        loss: the loss that it was trained with.

    Raises:
        ConfigError: the model has more than MOST parameters.
    """
    if (parameters := count(list(layers))) > MOST:
        raise ConfigError(
            f"--weights: the model has {parameters:,} parameters, and up to {MOST:,} are printed; "
            "mlpkit export --format state_dict writes them all"
        )
    names, width = [*map(cut, schema.features)], loss.width(schema.width)
    last = max(place for place, layer in enumerate(layers) if layer.parameters)
    named = map(loss.output_names, (schema.classes, schema.targets))
    outputs = next((of for of in named if len(of) == width), ("output",) * width)
    for place, layer in enumerate(layers):
        tensors = layer.parameters | layer.buffers
        heading = f"{layer.name} {layer.kind}"
        if layer.kind == "Linear":
            units = [cut(name) for name in outputs] if place == last else _units(layer.out_features)
            rows, values = list(names), list(zip(*read(f"{layer.name}.weight"), strict=True))
            if "bias" in tensors:
                rows, values = [*rows, "bias"], [*values, read(f"{layer.name}.bias")]
            yield from tables_by_unit(rows, units, values, heading)
            names = units
        elif tensors and all(shape == (layer.out_features,) for shape in tensors.values()):
            columns = [read(f"{layer.name}.{name}") for name in tensors]
            rows = [cut(name) for name in schema.targets] if layer.name == "unscaling" else names
            yield Table((heading, *tensors), tuple(zip(rows, *columns, strict=True)))
        elif layer.parameters:
            cells = tuple(
                cell
                for name, shape in layer.parameters.items()
                for cell in _each(name, shape, read(f"{layer.name}.{name}"))
            )
            yield Table((heading, "weight"), cells)
        if layer.kind == "PeriodicEmbedding":
            values_each = range(1, layer.parameters["bias"][1] + 1)
            names += [f"{names[place]} wave {value}" for place in schema.numbers for value in values_each]


def _units(width: int) -> list[str]:
    return [f"unit {unit + 1}" for unit in range(width)]


def _each(name: str, shape: Shape, values: object) -> Iterator[tuple[str, float]]:
    """Yield each value of a tensor with its name, counted from 1."""
    flat: list[object] = [values]
    for _ in shape:
        flat = [value for part in flat for value in part]  # type: ignore[attr-defined]
    places = product(*(range(1, size + 1) for size in shape))
    assert len(flat) == math.prod(shape)
    for place, value in zip(places, flat, strict=True):
        yield f"{name.removeprefix('module.')}{list(place)}", float(str(value))
