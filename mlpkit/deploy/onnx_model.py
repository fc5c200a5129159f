"""--format=onnx: one .onnx file that takes raw columns and runs in onnxruntime."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from mlpkit.data.input_schema import InputSchema
from mlpkit.deploy.check_rows import CheckRows, encode_rows
from mlpkit.deploy.format import FilePredictions, Format, Source
from mlpkit.deploy.portable import Portable, Step
from mlpkit.errors import ConfigError, DataError
from mlpkit.system.atomic_write import atomic_write

NAME = "x"  # of the input of a model that reads no table
MOST_BYTES = 2_000_000_000  # of a protobuf file


class OnnxFormat(Format):
    """A file for onnxruntime."""

    def check_runtime(self) -> None:
        """See `Format.check_runtime`: the extra onnx must be installed."""
        if missing := [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]:
            raise ConfigError(f"--format=onnx: needs {' and '.join(missing)}; pip install 'mlpkit[onnx]'")

    def write(self, source: Source, folder: Path) -> dict[str, Any]:
        """See `Format.write`."""
        from mlpkit.deploy.onnx_encoder import input_type
        from mlpkit.deploy.onnx_graph import IR_VERSION, ML_OPSET, OPSET

        model = source.portable("onnx")
        if (
            sum(array.nbytes for steps in model.members for s in steps for array in s.arrays.values())
            > MOST_BYTES
        ):
            raise ConfigError(
                "--format=onnx: the model has more than 2 GB, the most there may be in one file"
            )
        atomic_write(folder / f"{source.name}.onnx", _make(model, source.title).SerializeToString())
        encoder = model.schema.encoder
        types = {NAME: "float32"} if encoder is None else {s.column: input_type(s) for s in encoder.columns}
        return {
            "needs": ["onnxruntime>=1.18"],
            "opset": {"ai.onnx": OPSET, "ai.onnx.ml": ML_OPSET, "ir_version": IR_VERSION},
            "input_types": types,
            "output_names": output_names(model.schema),
        }

    def inputs(self, rows: CheckRows, schema: InputSchema) -> CheckRows:
        """See `Format.inputs`: most numbers are float32."""
        from mlpkit.deploy.onnx_encoder import input_type

        if schema.encoder is None:
            return rows
        columns = dict(rows.columns)
        for spec in schema.encoder.columns:
            if input_type(spec) == "float32":
                columns[spec.column] = [
                    None if value is None else float(np.float32(value)) for value in columns[spec.column]
                ]
        return encode_rows(schema.encoder, columns)

    def run(self, source: Source, folder: Path, rows: CheckRows) -> FilePredictions:
        """See `Format.run`."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            session = onnxruntime.InferenceSession(
                folder / f"{source.name}.onnx", options, providers=["CPUExecutionProvider"]
            )
            names = output_names(source.schema)
            found = session.run(list(names.values()), to_inputs(source.schema, rows))
        except Exception as error:  # onnxruntime raises many kinds
            raise DataError(f"onnxruntime cannot run it: {str(error).splitlines()[0]}") from None
        return FilePredictions.of(dict(zip(names, found, strict=True)))


def output_names(schema: InputSchema) -> dict[str, str]:
    """Return the names of the outputs; one that a raw column has as well is changed."""
    kinds = ["value"] if schema.task == "regression" else ["label", "probabilities"]
    kinds += ["class"] if schema.classes else []
    return {kind: f"predicted_{kind}" if kind in schema.columns else kind for kind in kinds}


def to_inputs(schema: InputSchema, rows: CheckRows) -> dict[str, Any]:
    """Return rows as onnxruntime takes them."""
    from mlpkit.deploy.onnx_encoder import input_type

    if schema.encoder is None:
        return {NAME: rows.features}
    found: dict[str, Any] = {}
    for spec in schema.encoder.columns:
        values, kind = rows.columns[spec.column], input_type(spec)
        if kind == "str":
            column = np.array([value or "" for value in values], object)
        else:
            column = np.array([np.nan if value is None else value for value in values], kind)
        found[spec.column] = column[:, None]
    return found


def _make(model: Portable, title: str) -> Any:
    """Return the model."""
    from mlpkit.deploy.onnx_encoder import encode_columns
    from mlpkit.deploy.onnx_graph import FLOAT, INT64, STRING, Graph

    graph, schema, count = Graph(), model.schema, len(model.names)
    names = output_names(schema)
    if schema.encoder is None:
        features = graph.read(NAME, FLOAT, model.widths[0])
    else:
        features = encode_columns(graph, schema.encoder, model.missing)
    zeros = graph.add("Mul", features, graph.constant(0.0, np.float32))  # NaN if it is NaN or infinite
    usable = graph.add("Not", graph.add("IsNaN", graph.add("ReduceSum", zeros, graph.integer([1]))))
    outputs = [_member(graph, model, steps, features) for steps in model.members]
    output = outputs[0] if len(outputs) == 1 else graph.add("Mean", *outputs)
    output = graph.add("Where", usable, output, graph.constant(np.nan, np.float32))
    if schema.task == "regression":
        graph.give(output, names["value"], FLOAT, ["rows", count])
        return graph.model(title, {"task": schema.task, "values": "\n".join(model.names)})
    if schema.task == "multiclass":
        label = graph.add("ArgMax", output, axis=1, keepdims=1)
    else:
        at = graph.constant(model.threshold, np.float32)
        label = graph.cast(graph.add("Greater", output, at), INT64)
        label = (
            label if schema.task == "multilabel" else graph.add("Gather", label, graph.integer([1]), axis=1)
        )
    label = graph.add("Where", usable, label, graph.integer(-1))
    if schema.task == "multilabel":
        graph.give(label, names["label"], INT64, ["rows", count])
    else:
        label = graph.add("Squeeze", label, graph.integer([1]))
        graph.give(label, names["label"], INT64, ["rows"])
        classes = graph.add(
            "LabelEncoder",
            label,
            domain="ai.onnx.ml",
            keys_int64s=list(range(count)),
            values_strings=list(schema.classes),
            default_string="",
        )
        graph.give(classes, names["class"], STRING, ["rows"])
    graph.give(output, names["probabilities"], FLOAT, ["rows", count])
    return graph.model(title, {"task": schema.task, "probabilities": "\n".join(model.names)})


def _member(graph: Any, model: Portable, steps: tuple[Step, ...], features: str) -> str:
    """Return the values or the probabilities of one network."""
    x = features
    for step in steps:
        arrays = {name: graph.constant(array, np.float32) for name, array in step.arrays.items()}
        x = _STEPS[step.kind](graph, x, step, arrays)
    if model.schema.task == "binary":
        both = graph.add("Concat", graph.add("Neg", x), x, axis=1)
        return str(graph.add("Sigmoid", both))
    if model.schema.task == "multilabel":
        return str(graph.add("Sigmoid", x))
    return str(graph.add("Softmax", x, axis=1)) if model.schema.task == "multiclass" else x


_OPERATORS = {  # activations that are an operator of ONNX with the same defaults
    **{"relu": "Relu", "elu": "Elu", "mish": "Mish", "selu": "Selu", "softplus": "Softplus"},
    **{"tanh": "Tanh", "sigmoid": "Sigmoid"},
}


def _activation(graph: Any, x: str, step: Step, arrays: dict[str, str]) -> str:
    if step.name in _OPERATORS:
        return str(graph.add(_OPERATORS[step.name], x))
    if step.name == "leaky_relu":
        return str(graph.add("LeakyRelu", x, alpha=0.01))
    if step.name == "silu":
        return str(graph.add("Mul", x, graph.add("Sigmoid", x)))
    if step.name == "gelu":
        half, root, one = (graph.constant(value, np.float32) for value in (0.5, 0.5**0.5, 1.0))
        normal = graph.add("Add", graph.add("Erf", graph.add("Mul", x, root)), one)
        return str(graph.add("Mul", graph.add("Mul", x, half), normal))
    return x


def _periodic(graph: Any, x: str, step: Step, arrays: dict[str, str]) -> str:
    """Add to some numbers among x the values of their waves; (numbers, rows, …) within."""
    count, width, _ = step.arrays["weight"].shape
    numbers = graph.add("Gather", x, graph.integer(step.arrays["numbers"]), axis=1)
    turns = graph.add("Mul", numbers, graph.constant(2 * np.pi, np.float32))
    turns = graph.add("Unsqueeze", graph.add("Transpose", turns, perm=[1, 0]), graph.integer([2]))
    frequency, phase, bias = (
        graph.constant(step.arrays[name][:, None], np.float32) for name in ("frequency", "phase", "bias")
    )
    waves = graph.add("Cos", graph.add("Add", graph.add("Mul", turns, frequency), phase))
    weight = graph.constant(step.arrays["weight"].transpose(0, 2, 1), np.float32)
    values = graph.add("Add", graph.add("MatMul", waves, weight), bias)
    values = graph.add("Transpose", values, perm=[1, 0, 2])
    flat = graph.add("Reshape", values, graph.integer([-1, count * width]))
    return str(graph.add("Concat", x, flat, axis=1))


def _inverse_yeo_johnson(graph: Any, x: str, step: Step, arrays: dict[str, str]) -> str:
    """Compute in float64, since ONNX has neither log1p nor expm1."""
    from mlpkit.deploy.onnx_graph import DOUBLE, FLOAT

    power, lowest, highest = (
        step.arrays[name].astype(np.float64)[None] for name in ("power", "lowest", "highest")
    )
    x = graph.add("Max", graph.add("Min", graph.cast(x, DOUBLE), graph.double(highest)), graph.double(lowest))
    is_negative = graph.add("Less", x, graph.double(0.0))
    size, logs = graph.add("Abs", x), []
    for exponent in (2 - power, power):
        safe = np.where(exponent == 0, 1, exponent)
        grown = graph.add("Add", graph.add("Mul", size, graph.double(safe)), graph.double(1.0))
        found = graph.add("Div", graph.add("Log", grown), graph.double(safe))
        logs.append(graph.add("Where", graph.constant(exponent == 0, bool), size, found))
    value = graph.add("Sub", graph.add("Exp", graph.add("Where", is_negative, *logs)), graph.double(1.0))
    return str(graph.cast(graph.add("Mul", value, graph.add("Sign", x)), FLOAT))


_STEPS: dict[str, Any] = {
    "standardize": lambda g, x, step, a: g.add("Div", g.add("Sub", x, a["mean"]), a["std"]),
    "linear": lambda g, x, step, a: g.add("Gemm", x, a["weight"], a["bias"], transB=1),
    "clip": lambda g, x, step, a: g.add("Min", g.add("Max", x, a["lowest"]), a["highest"]),
    "periodic": _periodic,
    "columns": lambda g, x, step, a: g.add("Add", g.add("Mul", x, a["scale"]), a["shift"]),
    "layer_norm": lambda g, x, step, a: g.add(
        "LayerNormalization", x, a["weight"], a["bias"], axis=-1, epsilon=step.eps
    ),
    "activation": _activation,
    "prelu": lambda g, x, step, a: g.add("PRelu", x, a["weight"]),
    "exp": lambda g, x, step, a: g.add("Exp", x),
    "inverse_yeo_johnson": _inverse_yeo_johnson,
}

FORMAT = OnnxFormat()
