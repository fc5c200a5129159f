"""Takes one training step with an engine and returns all its numbers.

The gradients are those that the engine computes by hand (`mlpkit.engines.backpropagation`), read from its
buffers. torch.autograd differentiates the same step once more, to compare.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mlpkit.analysis.explain import Gradient, LayerStep, ParameterStep, Stage, Step
from mlpkit.engines.activations import activation_of, in_place_activation
from mlpkit.engines.batches import Rows
from mlpkit.engines.engine import Engine
from mlpkit.engines.manual import ManualGradients
from mlpkit.errors import NonFiniteError
from mlpkit.models.torch_inputs import InputScale, PeriodicEmbedding
from mlpkit.models.torch_layers import name_of
from mlpkit.models.torch_own import OwnModule


def explain_step(engine: Engine, rows: Rows, lrs: Sequence[float], epoch: int, step: int) -> Step:
    """Take a training step with an engine of one run, and return all its numbers.

    Args:
        engine: at the weights from which the step starts; it has taken the step afterwards.
        rows: (n,) the indices of training rows; slice(None) for all.
        lrs: the learning rate, as `Engine.step` takes it.
        epoch: epochs done before the step.
        step: optimizer steps done before it.

    Raises:
        NonFiniteError: the loss or a gradient is not finite.
    """
    experiment, data, network = engine.experiments[0], engine.data, engine.experiments[0].network
    train, split = data.splits["train"], experiment.dataset.splits["train"]
    places = torch.arange(data.rows)[rows] if isinstance(rows, slice) else rows
    inputs = train.inputs[rows]
    if (randoms := engine.seed_draws(epoch, step)) is not None:
        inputs = next(data.augment(inputs, randoms))
    before = {name: values.detach().clone() for name, values in network.named_parameters()}
    outputs, losses, gradients = _differentiate(engine, inputs, rows)
    backward, by_hand, clipped = _take_step(engine, rows, len(places), lrs, epoch, step)
    weights = data.weights_of("train", rows)
    state = {name: tensor.clone() for name, tensor in engine.optimizers.state(0).items()}
    after = dict(network.named_parameters())
    return Step(
        experiment=experiment,
        rows=tuple(places.tolist()),
        epoch=epoch,
        step=step,
        lr=lrs[0],
        raw=split.inputs[places],
        inputs=inputs.detach(),
        targets=split.targets[places],
        expected=data.expected()[rows],
        layers=tuple(_layers(list(network.layers), outputs, gradients, backward, before)),
        losses=losses,
        weights=weights,
        parameters=tuple(
            ParameterStep(
                name=name,
                layer=_layer_of(network.layers, name),
                kind=_kind_of(network.layers, name),
                before=values,
                gradient=Gradient(by_hand.get(name), gradients[name]),
                clipped=clipped[name],
                state={key.rpartition("/")[2]: t for key, t in state.items() if key.startswith(f"{name}/")},
                after=after[name].detach().clone(),
            )
            for name, values in before.items()
        ),
        norm=float(engine.clip.norms[0, 0]),
        by_hand=bool(by_hand),
        reason=engine.reason,
        is_augmented=randoms is not None,
    )


def _differentiate(
    engine: Engine, inputs: Tensor, rows: Rows
) -> tuple[list[Tensor], Tensor, dict[str, Tensor]]:
    """Return the output of each module, the losses, and autograd's gradients.

    The gradients of outputs are named by the module's index, those of parameters by their names.

    The engine's weights and buffers stay as they are.
    """
    network = engine.experiments[0].network
    parameters, buffers = dict(network.named_parameters()), network.saved_buffers()
    kept = {name: buffer.clone() for name, buffer in buffers.items()}
    outputs: list[Tensor] = []
    network.train()
    with torch.enable_grad():
        values = inputs
        for module in network.layers:
            values = module(values)
            outputs.append(values)
        losses = engine.data.losses(values, "train", rows)
        if not bool(losses.isfinite().all()):
            raise NonFiniteError("the loss of this step is not finite; choose other weights or rows")
        found = torch.autograd.grad(losses.mean(), [*outputs, *parameters.values()], allow_unused=True)
    network.eval()
    with torch.no_grad():
        for name, buffer in buffers.items():
            buffer.copy_(kept[name])
    names = [*map(str, range(len(outputs))), *parameters]
    wanted = [*outputs, *parameters.values()]
    gradients = {
        name: torch.zeros_like(of) if gradient is None else gradient
        for name, gradient, of in zip(names, found, wanted, strict=True)
    }
    return [output.detach() for output in outputs], losses.detach(), gradients


@dataclass(frozen=True)
class _Backward:
    """The engine's buffers of a step by hand, of each linear layer: δ (n, width) and the dropout mask."""

    deltas: Sequence[Tensor] = ()
    masks: Sequence[Tensor | None] = ()


def _take_step(
    engine: Engine, rows: Rows, count: int, lrs: Sequence[float], epoch: int, step: int
) -> tuple[_Backward, dict[str, Tensor], dict[str, Tensor]]:
    """Take the step as `Engine.step` does; return its buffers, and gradients before and after clipping."""
    randoms, filler = engine.seed_draws(epoch, step), engine.filler
    backward, by_hand = _Backward(), dict[str, Tensor]()
    with engine.context:
        filler.fill(rows, count, False, randoms)
        gradients = engine.parameters.of_run(engine.gradients, 0)
        if isinstance(filler, ManualGradients):
            layers = filler.last.layers
            deltas = [before.gradients for before in layers.before]
            deltas += [*(hidden.gradients for hidden in layers.hidden), layers.output_gradients]
            masks = [None if hidden.mask is None else hidden.mask.mT.clone() for hidden in layers.hidden]
            masks = [*[None] * len(layers.before), *masks]
            backward = _Backward([delta.mT.clone() for delta in deltas], [*masks, None])
            by_hand = {name: gradient.clone() for name, gradient in gradients.items()}
        if bad := next((name for name, of in gradients.items() if not bool(of.isfinite().all())), None):
            raise NonFiniteError(f"the gradient of {bad} is not finite; choose other weights or rows")
        engine.clip(measure=True)
        clipped = {name: gradient.clone() for name, gradient in gradients.items()}
        engine.optimizers(lrs)
    return backward, by_hand, clipped


def _layers(
    modules: Sequence[nn.Module],
    outputs: Sequence[Tensor],
    gradients: Mapping[str, Tensor],
    backward: _Backward,
    weights: Mapping[str, Tensor],
) -> Iterator[LayerStep]:
    """Yield the layers of a network."""
    starts = [place for place, module in enumerate(modules) if _starts_layer(module)]
    for number, (first, stop) in enumerate(zip(starts, [*starts[1:], len(modules)], strict=True)):
        stages = [_stage(modules[place], outputs[place - 1], outputs[place]) for place in range(first, stop)]
        by_hand = back = slopes = None
        if backward.deltas:
            by_hand = backward.deltas[number]
            for place in range(first + 1, stop):
                slopes = _slopes(modules[place], outputs[place - 1], outputs[place], slopes)
            if stop < len(modules) and isinstance(modules[stop], nn.Linear):
                back = backward.deltas[number + 1] @ weights[f"layers.{stop}.weight"]
        mask = backward.masks[number] if backward.masks else None
        yield LayerStep(tuple(stages), Gradient(by_hand, gradients[str(first)]), slopes, back, mask)


def _starts_layer(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | OwnModule | PeriodicEmbedding | InputScale)


def _slopes(module: nn.Module, z: Tensor, activated: Tensor, others: Tensor | None) -> Tensor | None:
    """Return f'(z), computed as the engine does; `others` for a module that is no activation."""
    activation = in_place_activation(module)
    if activation is None:
        return others
    slopes = torch.ones_like(z)
    activation.derive(slopes, z if activation.needs_pre_activations else activated)
    return slopes


def _stage(module: nn.Module, inputs: Tensor, outputs: Tensor) -> Stage:
    statistics: dict[str, Tensor] = {}
    if isinstance(module, nn.BatchNorm1d | nn.LayerNorm):
        dim = 0 if isinstance(module, nn.BatchNorm1d) else 1
        statistics = {"mean": inputs.mean(dim), "variance": inputs.var(dim, unbiased=False)}
    activation = activation_of(module)
    return Stage(name_of(module), outputs, activation.name if activation else "", statistics)


def _layer_of(modules: nn.Sequential, name: str) -> int:
    """Return the index of the layer that a parameter such as layers.2.weight belongs to."""
    place = int(name.split(".")[1])
    return sum(_starts_layer(module) for module in list(modules)[: place + 1]) - 1


def _kind_of(modules: nn.Sequential, name: str) -> str:
    _, place, rest = name.split(".", 2)
    module = modules[int(place)]
    return rest if isinstance(module, nn.Linear) else f"{name_of(module)} {rest.removeprefix('module.')}"
