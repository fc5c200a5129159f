"""Builds an ONNX graph node by node, with names made up for what lies between."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, ML_OPSET, IR_VERSION = 20, 3, 9  # 20: the operators of strings; onnxruntime 1.18 and later run it

FLOAT, DOUBLE, INT64, STRING, BOOL = (
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.INT64,
    TensorProto.STRING,
    TensorProto.BOOL,
)


class Graph:
    """A graph under construction; values are known by their names."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.nodes: list[Any] = []
        self.constants: dict[Any, str] = {}
        self.initializers: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def add(self, kind: str, *inputs: str, domain: str = "", name: str = "", **settings: Any) -> str:
        """Add a node with one output; return the name of its output."""
        return self.add_many(kind, *inputs, count=1, domain=domain, names=[name] if name else [], **settings)[
            0
        ]

    def add_many(
        self,
        kind: str,
        *inputs: str,
        count: int,
        domain: str = "",
        names: Sequence[str] = (),
        **settings: Any,
    ) -> list[str]:
        """Add a node with several outputs; return their names."""
        outputs = list(names) or [f"/{kind}_{len(self.nodes)}_{place}" for place in range(count)]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, domain=domain, **settings))
        return outputs

    def constant(self, value: Any, dtype: Any) -> str:
        """Return the name of a constant; equal ones are stored once."""
        array = np.asarray(value, dtype)
        key = (
            str(array.dtype),
            array.shape,
            array.tobytes() if array.dtype != object else str(array.tolist()),
        )
        if key not in self.constants:
            self.constants[key] = f"/constant_{len(self.constants)}"
            self.initializers.append(numpy_helper.from_array(array, self.constants[key]))
        return self.constants[key]

    def double(self, value: Any) -> str:
        """Return the name of a float64 constant."""
        return self.constant(value, np.float64)

    def integer(self, value: Any) -> str:
        """Return the name of an int64 constant."""
        return self.constant(value, np.int64)

    def texts(self, value: Any) -> str:
        """Return the name of a constant of strings."""
        return self.constant(value, object)

    def cast(self, value: str, kind: int) -> str:
        """Convert a value to a type."""
        return self.add("Cast", value, to=kind)

    def any(self, conditions: Sequence[str]) -> str:
        """Return whether one of several conditions holds."""
        found = conditions[0]
        for other in conditions[1:]:
            found = self.add("Or", found, other)
        return found

    def read(self, name: str, kind: int, width: int) -> str:
        """Add an input (rows, width)."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, ["rows", width]))
        return name

    def give(self, value: str, name: str, kind: int, shape: Sequence[Any]) -> None:
        """Add an output."""
        self.add("Identity", value, name=name)
        self.outputs.append(helper.make_tensor_value_info(name, kind, list(shape)))

    def model(self, about: str, metadata: dict[str, str]) -> Any:
        """Return the model, checked."""
        graph = helper.make_graph(self.nodes, "model", self.inputs, self.outputs, self.initializers, about)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="mlpkit")
        helper.set_model_props(made, metadata)
        onnx.checker.check_model(made)
        return made
