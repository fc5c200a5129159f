"""Explanations: parts with sentences, formulas and tables, which a terminal or a page shows.

Formulas are plain text such as ∂loss/∂W₁ = δ₁ xᵀ, as in `mlpkit.engines.backpropagation`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mlpkit.analysis.explain import ParameterStep, Step
from mlpkit.analysis.number_table import Table, cut

SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(frozen=True)
class Part:
    """A part of an explanation.

    Attributes:
        title: its heading.
        lines: sentences.
        formulas: each with its shape in brackets, or "".
        table: numbers, if it has any.
    """

    title: str
    lines: tuple[str, ...] = ()
    formulas: tuple[tuple[str, str], ...] = ()
    table: Table | None = None


@dataclass(frozen=True)
class Explanation:
    """A training step in words and numbers.

    Attributes:
        title: what is trained, and on what.
        lines: where the weights come from, and what else holds for the whole step.
        parts: from the inputs to the update.
    """

    title: str
    lines: tuple[str, ...]
    parts: tuple[Part, ...]

    @property
    def numbers(self) -> int:
        """How many numbers it shows."""
        return sum(part.table.numbers for part in self.parts if part.table)


class Names:
    """The symbols and names of a step's numbers."""

    def __init__(self, step: Step) -> None:
        """Read the names of features, outputs and rows."""
        schema = step.experiment.dataset.input_schema
        width = step.outputs.shape[1]
        named = map(step.experiment.loss.output_names, (schema.classes, schema.targets))
        known = next((of for of in named if len(of) == width), ("output",) * width)
        self.features, self.outputs = [*map(cut, schema.features)], [*map(cut, known)]
        self.rows, self.layers = step.rows, len(step.layers)

    def symbol(self, letter: str, place: int) -> str:
        """Return a letter with the number of a layer, counted from 1; the inputs are x."""
        return "x" if place < 0 else f"{letter}{str(place + 1).translate(SUBSCRIPTS)}"

    def units(self, place: int, width: int) -> list[str]:
        """Return the name of each unit of a layer."""
        if place == self.layers - 1:
            return self.outputs
        return [f"unit {unit + 1}" for unit in range(width)]

    def each(self, units: Sequence[str]) -> list[str]:
        """Return the names of numbers (n, units), row by row."""
        if len(self.rows) == 1:
            return list(units)
        rows = [f"row {row + 1}" for row in self.rows]
        return rows if len(units) == 1 else [f"{row}, {unit}" for row in rows for unit in units]

    def of_parameter(self, parameter: ParameterStep) -> list[str]:
        """Return the name of each value of a parameter."""
        shape = parameter.before.shape
        if parameter.kind == "bias":
            symbol = self.symbol("b", parameter.layer)
            return [f"{symbol}[{unit + 1}]" for unit in range(shape[0])]
        if parameter.kind == "weight":
            symbol = self.symbol("W", parameter.layer)
            inputs = self.features if parameter.layer == 0 else [str(unit + 1) for unit in range(shape[1])]
            return [f"{symbol}[{unit + 1}, {name}]" for unit in range(shape[0]) for name in inputs]
        places = torch.cartesian_prod(*(torch.arange(size) for size in shape)).reshape(-1, len(shape)) + 1
        return [f"{parameter.kind}{place}" for place in places.tolist()]


def make_table(heading: str, names: Sequence[str], columns: dict[str, Tensor | None]) -> Table:
    """Return a table of tensors with as many values as there are names; those that are None are left out."""
    given = {name: values for name, values in columns.items() if values is not None}
    cells = zip(names, *(values.reshape(-1).tolist() for values in given.values()), strict=True)
    return Table((heading, *given), tuple(cells), are_symbols=True)
