"""Describes the parts of a training step in formulas and numbers, from the inputs to the update."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mlpkit.analysis.explain import LayerStep, ParameterStep, Step
from mlpkit.analysis.explain_loss import describe_loss, gradient_formula
from mlpkit.analysis.explain_text import Explanation, Names, Part, make_table
from mlpkit.analysis.number_table import tables_by_unit
from mlpkit.config.problems import plural
from mlpkit.config.registry import choices, first_doc_line
from mlpkit.models.torch_inputs import lr_factors
from mlpkit.system.console import number

OWN = "{} is a module of a plug-in; its inside is not shown"
INSIDE = {
    "PeriodicEmbedding": "its outputs are {a} and, for each number x in it, several values of "
    "weight cos(2π frequency x + phase) + bias",
    "InputScale": "its outputs are scale ⊙ {a}, with a factor for each input",
}


def describe_step(step: Step, source: str) -> Explanation:
    """Return a step in words and numbers.

    Args:
        step: the step.
        source: where the weights before the step come from.
    """
    config, dataset = step.experiment.config, step.experiment.dataset
    names = Names(step)
    shown = f"row {step.rows[0] + 1}" if len(step.rows) == 1 else plural(len(step.rows), "row")
    network = "-".join(str(values.shape[1]) for values in (step.inputs, *(of.output for of in step.layers)))
    lines = [
        f"weights: {source}",
        f"rows: {shown} of the {len(dataset.splits['train']):,} of the split train",
        "a batch is a matrix with one column for each row of data; here it has "
        f"n = {len(step.rows)}; ⊙ multiplies number by number",
    ]
    if not step.by_hand:
        lines.append(
            f"only torch.autograd's gradients are shown, without the terms of those by hand ({step.reason})"
        )
    parts = [
        _inputs(step, names),
        *(part for place in range(len(step.layers)) for part in _forward(step, place, names)),
        *describe_loss(step, names),
        *(part for place in reversed(range(len(step.layers))) for part in _backward(step, place, names)),
        _update(step, names),
    ]
    if (difference := step.difference) is not None:
        line = "the gradients by hand and those of torch.autograd "
        line += f"differ by {difference:.3g} at most" if difference else "are equal to the bit"
        parts.append(Part("Check", (line,)))
    title = f"{dataset.title}, {config.model.name} {network}: step {step.step + 1:,} of training, on {shown}"
    return Explanation(title, tuple(lines), tuple(parts))


def _shape(values: Tensor) -> str:
    """Return the shape of values (n, width) in the formulas, where each row of data is a column."""
    return f"({values.shape[1]}, {values.shape[0]})"


def _inputs(step: Step, names: Names) -> Part:
    network = step.experiment.network
    is_scaled = not isinstance(network.scaling, torch.nn.Identity)
    lines = ["x is the raw input"]
    if is_scaled:
        lines = ["x = (raw - mean) / std, with the mean and std of the training rows"]
    elif step.experiment.dataset.input_schema.encoder is not None:
        lines = ["x is what the table's encoder makes of the row: scaled numbers, categories as 0 and 1"]
    if step.is_augmented:
        lines.append("before that, the image was augmented at random, as in this step of training")
    columns: dict[str, Tensor | None] = {
        "raw": step.raw if is_scaled or step.is_augmented else None,
        "x": step.inputs,
    }
    return Part(
        "Inputs",
        tuple(lines),
        (("x", _shape(step.inputs)),),
        make_table("input", names.each(names.features), columns),
    )


def _stage_symbols(layer: LayerStep, place: int, names: Names) -> list[str]:
    """Return the symbol of each stage: z for the first, a for the last, else u for a norm and h."""
    last = len(layer.stages) - 1
    letters = ["u" if stage.statistics else "h" for stage in layer.stages]
    letters[last] = "a"
    letters[0] = "z"
    return [names.symbol(letter, place) for letter in letters]


def _forward(step: Step, place: int, names: Names) -> Iterator[Part]:
    """Yield the parts of a layer's forward pass."""
    layer = step.layers[place]
    symbols = _stage_symbols(layer, place, names)
    previous, mask = names.symbol("a", place - 1), names.symbol("m", place)
    formulas, lines = [], []
    for index, (stage, symbol) in enumerate(zip(layer.stages, symbols, strict=True)):
        source = symbols[index - 1]
        if index == 0:
            has_bias = any(of.kind == "bias" for of in step.parameters_of(place))
            offset = f" + {names.symbol('b', place)}" if has_bias else ""
            formula = f"{symbol} = {names.symbol('W', place)} {previous}{offset}"
            if not layer.is_linear:
                formula = f"{symbol} = {stage.kind}({previous})"
                lines.append(INSIDE.get(stage.kind, "").format(a=previous) or OWN.format(stage.kind))
        elif stage.statistics:
            formula = f"{symbol} = (({source} - mean) / √(variance + 1e-05)) ⊙ weight + bias"
            over = "the rows of the batch" if stage.kind == "BatchNorm1d" else "the units of a row"
            lines.append(f"{stage.kind}: mean and variance over {over}")
        elif stage.kind == "AlphaDropout":
            formula = f"{symbol} = ({source} + 1.7581) ⊙ {mask} + shift"
            lines.append(
                f"alpha dropout: {mask} is 0 for the units dropped in this step, which become -1.7581"
            )
            lines.append("the factor in the mask and the shift keep a mean of 0 and a variance of 1")
        elif stage.kind == "Dropout":
            formula = f"{symbol} = {source} ⊙ {mask}"
            lines.append(f"dropout: {mask} is 0 for the units dropped in this step, else 1 / (1 - rate)")
        else:
            formula = f"{symbol} = {stage.function or stage.kind}({source})"
        formulas.append((formula, _shape(stage.values)))
        if stage.function and (about := first_doc_line(choices("activation")[stage.function])):
            formulas.append((f"{stage.function}(z) = {about}", ""))
    columns: dict[str, Tensor | None] = {}
    for stage, symbol in zip(layer.stages, symbols, strict=True):
        if stage.kind in ("Dropout", "AlphaDropout"):
            columns[mask] = layer.mask
        columns[symbol] = stage.values
    units = names.units(place, layer.stages[0].values.shape[1])
    yield from _weights(step, place, names, units)
    table = make_table("", names.each(units), columns)
    yield Part(f"Forward: layer {place + 1}", tuple(lines), tuple(formulas), table)
    for stage in layer.stages:
        if stage.statistics:
            own = units if stage.kind == "BatchNorm1d" else [f"row {row + 1}" for row in names.rows]
            yield Part(f"{stage.kind} of layer {place + 1}", table=make_table("", own, {**stage.statistics}))


def _weights(step: Step, place: int, names: Names, units: Sequence[str]) -> Iterator[Part]:
    """Yield the weights and biases of a linear layer before the step, a column for each unit."""
    if not step.layers[place].is_linear:
        return
    of = {parameter.kind: parameter.before for parameter in step.parameters_of(place)}
    symbols = [names.symbol("W", place)]
    values = of["weight"].T
    inputs = names.features if place == 0 else names.units(place - 1, len(values))
    if "bias" in of:
        symbols, values = [*symbols, names.symbol("b", place)], torch.cat([values, of["bias"][None]])
    rows = [*inputs, *(["bias"] if "bias" in of else [])]
    title = f"{' and '.join(symbols)} before the step, a column for each unit"
    for table in tables_by_unit(rows, units, values.tolist()):
        yield Part(title, table=table)


def _backward(step: Step, place: int, names: Names) -> Iterator[Part]:
    """Yield the parts of a layer's backward pass."""
    layer, previous = step.layers[place], names.symbol("a", place - 1)
    z, delta, after = (names.symbol(*of) for of in (("z", place), ("δ", place), ("δ", place + 1)))
    partial = f"{delta} = ∂loss/∂{z}"
    columns: dict[str, Tensor | None] = {}
    if not step.by_hand:
        formulas = [(partial, _shape(layer.delta.value))]
    elif place == len(step.layers) - 1:
        weighted = "w " if step.weights is not None else ""
        mean = " / n" if len(step.rows) > 1 else ""
        formulas = [(f"{partial} = {weighted}∂ℓ/∂{z}{mean}", _shape(layer.delta.value))]
        if of_loss := gradient_formula(step):
            formulas.append((f"∂ℓ/∂z = {of_loss}", ""))
    else:
        is_scale = step.layers[place + 1].stages[0].kind == "InputScale"
        back = f"scale ⊙ {after}" if is_scale else f"{names.symbol('W', place + 1)}ᵀ {after}"
        mask, slope = names.symbol("m", place), f"{_function(layer)}′({z})"
        factors = [f"({back})", *([mask] if layer.mask is not None else ())]
        factors += [slope] if layer.slopes is not None else []
        formulas = [(f"{partial} = {' ⊙ '.join(factors)}", _shape(layer.delta.value))]
        columns = {back: layer.back, mask: layer.mask, slope: layer.slopes}
    gradients = _columns(delta, layer.delta.by_hand, layer.delta.autograd)
    units = names.units(place, layer.delta.value.shape[1])
    table = make_table("", names.each(units), {**columns, **gradients})
    yield Part(f"Backward: {delta} of layer {place + 1}", (), tuple(formulas), table)

    parameters = step.parameters_of(place)
    formulas = []
    for parameter in parameters:
        symbol = {"weight": "W", "bias": "b"}.get(parameter.kind)
        if symbol is None:
            continue
        named, rule = names.symbol(symbol, place), f"{delta} {previous}ᵀ"
        if symbol == "b":
            rule = delta if len(step.rows) == 1 else f"Σ {delta} over the rows"
        text = f"∂loss/∂{named}" + (f" = {rule}" if layer.is_linear else "")
        formulas.append((text, f"({', '.join(map(str, parameter.before.shape))})"))
    by_hand = torch.cat([_flat(of.gradient.by_hand) for of in parameters]) if step.by_hand else None
    autograd = torch.cat([_flat(of.gradient.autograd) for of in parameters])
    cells = make_table("", _all_names(parameters, names), _columns("by hand", by_hand, autograd))
    yield Part(f"Backward: weights of layer {place + 1}", (), tuple(formulas), cells)


def _columns(name: str, by_hand: Tensor | None, autograd: Tensor) -> dict[str, Tensor | None]:
    return {name: by_hand, "autograd": autograd}


def _flat(values: Tensor | None) -> Tensor:
    assert values is not None
    return values.reshape(-1)


def _all_names(parameters: Sequence[ParameterStep], names: Names) -> list[str]:
    return [name for parameter in parameters for name in names.of_parameter(parameter)]


def _function(layer: LayerStep) -> str:
    return next((stage.function for stage in layer.stages if stage.function), "f")


def _update(step: Step, names: Names) -> Part:
    config, parameters = step.experiment.config, step.parameters
    optimizer, trainer = config.optimizer, config.trainer
    formulas = tuple((formula, "") for formula in optimizer.formulas())
    line = f"optimizer: {optimizer.name}, lr = {step.lr:.6g}"
    if step.lr != optimizer.lr:
        line += f" (optimizer.lr={optimizer.lr:g}, scheduler={config.scheduler.name})"
    lines = [line, f"norm of the whole gradient: {number(step.norm)}"]
    lines += [
        f"the steps of {name} are {factor:g} times as long"
        for name, (factor,) in lr_factors([step.experiment.network]).items()
    ]
    limits = {"clip_value": trainer.clip_value, "clip_norm": trainer.clip_norm}
    clipped = [f"trainer.{name}={limit:g}" for name, limit in limits.items() if limit is not None]
    if clipped:
        lines.append(f"g is the gradient, clipped by {' and '.join(clipped)}")
    if not formulas:
        lines.append("the optimizer has no formula to show")
    slots = dict.fromkeys(slot for of in parameters for slot, state in of.state.items() if state.dim())
    numbers = {slot: float(of) for slot, of in parameters[0].state.items() if not of.dim()}
    lines += [f"{slot} = {value:g}" for slot, value in numbers.items()]
    columns: dict[str, Tensor | None] = {
        "before": torch.cat([_flat(of.before) for of in parameters]),
        "g": torch.cat([_flat(of.clipped) for of in parameters]),
        **{slot: torch.cat([_flat(of.state[slot]) for of in parameters]) for slot in slots},
        "after": torch.cat([_flat(of.after) for of in parameters]),
    }
    return Part("Update", tuple(lines), formulas, make_table("θ", _all_names(parameters, names), columns))
