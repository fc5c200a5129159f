"""A trained model as plain data: its input schema, and the steps of each network with their NumPy arrays."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from mlpkit.analysis.predict import Predictor, members_of
from mlpkit.config.config import Config
from mlpkit.config.registry import choices
from mlpkit.config.task_fit import ForTasks
from mlpkit.data.input_schema import MOST_NAMED, InputSchema
from mlpkit.data.raw_inputs import missing_texts
from mlpkit.data.table_file import MISSING, TableFormat
from mlpkit.data.table_options import TableOptions
from mlpkit.deploy.numpy_model import ACTIVATIONS
from mlpkit.errors import ConfigError
from mlpkit.models.activations import TorchActivation
from mlpkit.models.torch_inputs import InputScale, PeriodicEmbedding
from mlpkit.models.torch_layers import (
    Dropout,
    Scaling,
    Temperature,
    Unscaling,
    UnscalingLog,
    UnscalingYeoJohnson,
    name_of,
)
from mlpkit.models.torch_network import Network
from mlpkit.models.torch_own import OwnModule

Array = NDArray[Any]
ANY_FORMAT = TableFormat()
PERIODIC = ("numbers", "frequency", "phase", "weight", "bias")  # the arrays of a periodic embedding


@dataclass(frozen=True)
class Step:
    """One step of a network in evaluation; maps (rows, n) to (rows, m).

    Attributes:
        kind: standardize: (x - mean) / std; linear: x weightᵀ + bias; columns: x scale + shift; layer_norm;
            activation; prelu: the slope below 0; exp; inverse_yeo_johnson; clip; periodic.
        arrays: its numbers, by these names.
        name: of the activation.
        eps: of the layer norm.
    """

    kind: str
    arrays: dict[str, Array]
    name: str = ""
    eps: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, arrays as base64."""
        arrays = {name: _encoded(array) for name, array in self.arrays.items()}
        return {"kind": self.kind, "name": self.name, "eps": self.eps, "arrays": arrays}


@dataclass(frozen=True)
class Portable:
    """A model as plain data; several members are an ensemble.

    Attributes:
        schema: of its inputs and outputs.
        members: the steps of each network; softmax or sigmoid follows for classes and labels.
        threshold: probability above which a row is labelled as the second class, or has a label.
        missing: texts that stand for a missing value.
        csv: the format of the csv files that it was trained on.
    """

    schema: InputSchema
    members: tuple[tuple[Step, ...], ...]
    threshold: float = 0.5
    missing: tuple[str, ...] = MISSING
    csv: TableFormat = ANY_FORMAT

    @property
    def widths(self) -> tuple[int, int]:
        """The number of features and of outputs of each network."""
        return len(self.schema.features), self.schema.width

    @property
    def is_double(self) -> bool:
        """Whether it computes in float64."""
        return any(a.dtype == np.float64 for steps in self.members for s in steps for a in s.arrays.values())

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the outputs: classes, or targets."""
        return self.schema.classes or self.schema.targets

    def to_json(self, with_members: bool = True) -> dict[str, Any]:
        """Return JSON values, which `mlpkit.deploy.numpy_model` reads."""
        schema = self.schema
        encoder = None if schema.encoder is None else schema.encoder.to_dict()["columns"]
        members = [[step.to_json() for step in steps] for steps in self.members]
        return {
            "task": schema.task,
            "features": len(schema.features),
            "names": list(schema.features) if len(schema.features) <= MOST_NAMED else [],
            "pictures": schema.is_image,
            "targets": list(schema.targets),
            "classes": list(schema.classes),
            "columns": encoder,
            "missing": list(self.missing),
            "separator": self.csv.separator or ",",
            "decimal": self.csv.decimal or ".",
            "encoding": self.csv.encoding or "utf-8",
            "header": self.csv.has_header is not False,
            "threshold": self.threshold,
            "members": members if with_members else [],
        }


def _encoded(array: Array) -> dict[str, Any]:
    plain = np.ascontiguousarray(array)
    data = base64.b64encode(plain.astype(plain.dtype.newbyteorder("<")).tobytes()).decode()
    return {"dtype": str(plain.dtype), "shape": list(plain.shape), "data": data}


def make_portable(predictor: Predictor, config: Config, format_: str, threshold: float = 0.5) -> Portable:
    """Return a model as plain data.

    Args:
        predictor: the model, or an ensemble.
        config: of its run, or of the first of them.
        format_: the format of the export, for errors.
        threshold: see `Portable`.

    Raises:
        ConfigError: it has a layer or an activation that is code of the user's own, or has no step.
    """
    members = tuple(tuple(_steps(each.network, config, format_)) for each in members_of(predictor))
    csv = config.dataset.table_format() if isinstance(config.dataset, TableOptions) else TableFormat()
    return Portable(predictor.input_schema, members, threshold, missing_texts(config.dataset), csv)


def _steps(network: Network, config: Config, format_: str) -> Iterator[Step]:
    for layer in (network.scaling, *network.layers):
        yield from _steps_of(layer, config, format_)
    if network.predicted is not None:  # outputs that are not predictions are left out
        weight = np.eye(network.predicted, config.loss.width(network.predicted))
        dtype = _array(next(network.parameters())).dtype
        yield Step("linear", {"weight": weight.astype(dtype), "bias": np.zeros(len(weight), dtype)})
    yield from _steps_of(network.unscaling, config, format_)


def _steps_of(layer: nn.Module, config: Config, format_: str) -> Iterator[Step]:
    if isinstance(layer, OwnModule):
        yield from _steps_of(layer.module, config, format_)
    elif type(layer) is nn.Sequential:
        for each in layer:
            yield from _steps_of(each, config, format_)
    elif isinstance(layer, Unscaling):
        yield Step("columns", {"scale": _array(layer.std), "shift": _array(layer.mean)})
        if isinstance(layer, UnscalingLog):
            yield Step("exp", {})
        elif isinstance(layer, UnscalingYeoJohnson):
            names = ("power", "lowest", "highest")
            yield Step("inverse_yeo_johnson", {name: _array(getattr(layer, name)) for name in names})
        if layer.clips:
            yield Step("clip", {"lowest": _array(layer.least), "highest": _array(layer.most)})
    elif isinstance(layer, Scaling):
        yield Step("standardize", {"mean": _array(layer.mean), "std": _array(layer.std)})
    elif isinstance(layer, PeriodicEmbedding):
        yield Step("periodic", {name: _array(getattr(layer, name)) for name in PERIODIC})
    elif isinstance(layer, InputScale | Temperature):
        scale = _array(layer.scale)
        yield Step("columns", {"scale": scale, "shift": np.zeros_like(scale)})
    elif type(layer) is nn.Linear:
        weight = _array(layer.weight)
        bias = np.zeros(len(weight), weight.dtype) if layer.bias is None else _array(layer.bias)
        yield Step("linear", {"weight": weight, "bias": bias})
    elif type(layer) is nn.BatchNorm1d and layer.affine and layer.running_var is not None:
        yield _batch_norm(layer)
    elif type(layer) is nn.LayerNorm and layer.weight is not None and layer.bias is not None:
        arrays = {"weight": _array(layer.weight), "bias": _array(layer.bias)}
        yield Step("layer_norm", arrays, eps=layer.eps)
    elif isinstance(layer, Dropout | nn.Identity) or type(layer) is nn.Dropout:
        return  # they change nothing in evaluation
    elif type(layer) is nn.PReLU:
        yield Step("prelu", {"weight": _array(layer.weight)})
    elif name := _activation(layer):
        yield Step("activation", {}, name=name)
    else:
        raise _not_portable(layer, config, format_)


def _activation(layer: nn.Module) -> str:
    """Return the name of an activation with its usual parameters; empty if the layer is another one."""
    for name, schema in choices("activation").items():
        if name in ACTIVATIONS and issubclass(schema, TorchActivation):
            usual: nn.Module = getattr(nn, schema.torch_class)()
            if type(layer) is type(usual) and layer.extra_repr() == usual.extra_repr():
                return name
    return ""


def _not_portable(layer: nn.Module, config: Config, format_: str) -> ConfigError:
    model: ForTasks = config.model
    own = getattr(model, "activation", None)
    what = f"model.activation={own}" if own is not None else f"model={model.name}"
    why = "is code of your own"
    if type(layer).__module__.startswith("torch.nn."):
        why = f"has a layer {name_of(layer)}({layer.extra_repr()})"
    return ConfigError(f"--format={format_}: {what} {why}, which only --format=torch can hold")


def _batch_norm(layer: nn.BatchNorm1d) -> Step:
    """Return the batch norm of evaluation: one scale and one shift for each column."""
    assert layer.running_mean is not None and layer.running_var is not None
    weight, dtype = _array(layer.weight), _array(layer.weight).dtype
    spread = np.sqrt(_array(layer.running_var).astype(np.float64) + layer.eps)
    scale = weight / spread
    shift = _array(layer.bias) - _array(layer.running_mean) * scale
    return Step("columns", {"scale": scale.astype(dtype), "shift": shift.astype(dtype)})


def _array(tensor: Tensor | None) -> Array:
    assert tensor is not None
    array: Array = tensor.detach().cpu().numpy()
    return array
