"""A step of K small networks and the scores of its epoch as one function, for torch's compiler.

The formulas are those of `mlpkit.engines.backpropagation`, written unit by unit: each unit's values for all
examples are a separate tensor (K, n), and a matrix product is a sum of such tensors, each times a weight
(K, 1). Only element-wise operations and sums over examples remain. The compiler fuses them into one loop over
the examples, with intermediate values in registers instead of memory. This is for small networks only, since
each weight is a line of the compiled code.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlpkit.engines.compile_plan import SETTINGS, CompilePlan
from mlpkit.models.activations import SELU_ALPHA, SELU_SCALE, SOFTPLUS

Activations = list[Tensor]  # (K, n) for each unit of a layer
Derivative = Callable[
    [Tensor, Tensor, Tensor], Tensor
]  # (gradient with respect to f(z), z, f(z)) -> that with respect to z

_SLOPE = nn.LeakyReLU().negative_slope
aten = torch.ops.aten

# (f, its derivative) by torch's class name, in operations that torch's compiler supports.
FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], Derivative]] = {
    "ReLU": (torch.relu, lambda gradient, z, a: torch.where(a > 0, gradient, 0.0)),
    "LeakyReLU": (
        lambda z: F.leaky_relu(z, _SLOPE),
        lambda gradient, z, a: torch.where(z > 0, gradient, gradient * _SLOPE),
    ),
    "ELU": (F.elu, lambda gradient, z, a: torch.where(z > 0, gradient, gradient * (a + 1))),
    "GELU": (F.gelu, lambda gradient, z, a: aten.gelu_backward(gradient, z)),
    "SiLU": (F.silu, lambda gradient, z, a: aten.silu_backward(gradient, z)),
    "Mish": (F.mish, lambda gradient, z, a: aten.mish_backward(gradient, z)),
    "SELU": (
        F.selu,
        lambda gradient, z, a: torch.where(
            z > 0, gradient * SELU_SCALE, gradient * (a + SELU_SCALE * SELU_ALPHA)
        ),
    ),
    "Softplus": (F.softplus, lambda gradient, z, a: aten.softplus_backward(gradient, z, *SOFTPLUS)),
    "Tanh": (torch.tanh, lambda gradient, z, a: gradient * (1 - a * a)),
    "Sigmoid": (torch.sigmoid, lambda gradient, z, a: gradient * (a * (1 - a))),
    "Identity": (lambda z: z, lambda gradient, z, a: gradient),
}


@dataclass
class Rows:
    """The rows of a split, with examples contiguous in memory.

    Attributes:
        inputs: (1 or K, features, n).
        expected: (1 or K, width, n); see `LossConfig.expected`.
        targets: (1 or K, 2 · width, n) for regression, see `regression_truth`; else `expected`.
        weights: (1 or K, 1, n), how much each row counts in the loss; None if all count the same.
    """

    inputs: Tensor
    expected: Tensor
    targets: Tensor
    weights: Tensor | None = None


class WholeStep(nn.Module):
    """Takes a step on all training rows; sums scores before it (training) and after it (monitored split)."""

    def __init__(self, plan: CompilePlan) -> None:
        """Store the plan."""
        super().__init__()
        self.plan, self.per_layer = plan, 2 if plan.bias else 1

    def forward(
        self,
        values: list[Tensor],
        averages: list[list[Tensor]],
        means: list[Tensor],
        settings: Tensor,
        train: list[Tensor],
        monitored: list[Tensor],
        unscaling: list[Tensor],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Update values, averages and means in place; change nothing if a loss or gradient is not finite.

        Args:
            values: the weights and biases (K, *shape), layer by layer.
            averages: the optimizer's state tensors, each list like `values`.
            means: the averages of the weights, like `values`, which are then scored; empty without.
            settings: (settings, K); see `SETTINGS`.
            train: the fields of `Rows` for the training split.
            monitored: the fields of `Rows` for the monitored split, which is scored after the step.
            unscaling: std and mean, each (K, width, 1); empty if outputs are not scaled.

        Returns:
            The training outputs (K, width, n) before the step; the norms (K, 1) of the gradients; whether all
            is finite; and sums (1 + statistics, K) over the training rows before the step and over the
            monitored rows after it.
        """
        rows = Rows(*train)
        activations, kept = self._forward(values, rows.inputs)
        sums = self._sums(activations, rows, unscaling)
        gradients = self._gradients(values, kept, activations, rows)
        norms = _norms(gradients)
        # A sum is not finite if one of its terms is not.
        finite = torch.isfinite((norms + sums[0][:, None]).sum())
        self._update(values, averages, self._clipped(gradients, norms, settings), settings, finite)
        share = settings[SETTINGS.index("average_share")]
        for mean, value in zip(means, values, strict=False):
            mean.copy_(torch.where(finite, torch.lerp(mean, value, _like(share, value)), mean))
        # Makes the compiler read the updated values from memory, not recompute the update for each example.
        changed = [value.as_strided(value.shape, value.stride()) for value in means or values]
        after, _ = self._forward(changed, monitored[0])
        scores = self._sums(after, Rows(*monitored), unscaling)
        return torch.stack(activations, 1), norms, finite, sums, scores

    def _forward(
        self, values: Sequence[Tensor], inputs: Tensor
    ) -> tuple[Activations, list[tuple[Activations, Activations]]]:
        """Return the outputs, and (z, f(z)) of each hidden layer, preceded by (inputs, inputs)."""
        activations: Activations = list(inputs.unbind(1))
        kept = [(activations, activations)]
        for layer, name in enumerate((*self.plan.activations, "Identity")):
            weight, bias = self._layer(values, layer)
            pre_activations = []
            for unit in range(weight.shape[1]):
                products = [weight[:, unit, i, None] * a for i, a in enumerate(activations)]
                pre_activations.append(_sum(products if bias is None else [bias[:, unit, None], *products]))
            activations = [FUNCTIONS[name][0](z) for z in pre_activations]
            kept.append((pre_activations, activations))
        return activations, kept[:-1]

    def _gradients(
        self,
        values: Sequence[Tensor],
        kept: list[tuple[Activations, Activations]],
        outputs: Activations,
        rows: Rows,
    ) -> list[Tensor]:
        """Return the gradients of the mean loss with respect to the values."""
        plan = self.plan
        means = torch.stack(outputs, 1)
        if plan.loss == "binary_cross_entropy":
            t = torch.exp(-means.abs())  # the same expression as in the loss, so that it is computed once
            means = torch.where(means > 0, 1.0, t) / (1 + t)
        elif plan.loss == "cross_entropy":
            means = torch.softmax(means, 1)
        scale = (2 / plan.widths[-1] if plan.loss == "mse" else 1.0) / plan.rows[0]
        of_outputs = (means - rows.expected) * scale
        gradients = list((of_outputs if rows.weights is None else of_outputs * rows.weights).unbind(1))
        all_gradients: list[Tensor] = []
        for layer in reversed(range(len(plan.widths) - 1)):
            pre_activations, previous = kept[layer]
            of_layer = [
                torch.stack([torch.stack([(d * a).sum(-1) for a in previous], -1) for d in gradients], 1)
            ]
            if plan.bias:
                of_layer.append(torch.stack([d.sum(-1) for d in gradients], 1))
            all_gradients = of_layer + all_gradients
            if layer:
                weight, _ = self._layer(values, layer)
                derive = FUNCTIONS[plan.activations[layer - 1]][1]
                gradients = [
                    derive(
                        _sum([weight[:, j, i, None] * d for j, d in enumerate(gradients)]),
                        pre_activations[i],
                        previous[i],
                    )
                    for i in range(len(previous))
                ]
        return all_gradients

    def _sums(self, activations: Activations, rows: Rows, unscaling: list[Tensor]) -> Tensor:
        """Return the sums (1 + statistics, K) of losses and statistics; see `Task`."""
        outputs, y = torch.stack(activations, 1), rows.expected
        losses = self._losses(outputs, y)
        losses = losses if rows.weights is None else losses * rows.weights[:, 0]
        if self.plan.task == "regression":
            exact, centred = (part.expand_as(outputs) for part in rows.targets.double().chunk(2, 1))
            if unscaling:
                outputs = outputs * unscaling[0] + unscaling[1]
            errors = outputs.double() - exact
            each = (errors.abs(), errors.square(), centred, centred.square())
            statistics = [values.mean(1) for values in each]
        elif self.plan.task == "binary":
            statistics = [((outputs > 0) == (y > 0.5)).squeeze(1).to(outputs.dtype)]
        else:
            statistics = [(outputs.argmax(1) == y.argmax(1)).to(outputs.dtype)]
        return torch.stack([values.sum(1, dtype=torch.float64) for values in (losses, *statistics)])

    def _losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the losses (K, n)."""
        if self.plan.loss == "mse":
            return (outputs - y).square().mean(1)
        if self.plan.loss == "binary_cross_entropy":
            signed = ((1 - 2 * y) * outputs).squeeze(1)
            return signed.clamp_min(0) + _log1p(torch.exp(-outputs.abs()).squeeze(1))
        return torch.logsumexp(outputs - (outputs * y).sum(1, keepdim=True), 1)

    def _clipped(self, gradients: list[Tensor], norms: Tensor, settings: Tensor) -> list[Tensor]:
        """Clip the gradients, by value and then by norm; see `Clipping`."""
        by_norm, by_value = self.plan.limits
        if by_value:
            limits = settings[SETTINGS.index("value_limit")]
            gradients = [torch.clamp(g, -_like(limits, g), _like(limits, g)) for g in gradients]
            norms = _norms(gradients)
        if by_norm:
            limits = settings[SETTINGS.index("norm_limit")]
            factors = (limits / (norms[:, 0] + 1e-6)).clamp(max=1.0)
            gradients = [g * _like(factors, g) for g in gradients]
        return gradients

    def _update(
        self,
        values: list[Tensor],
        averages: list[list[Tensor]],
        gradients: list[Tensor],
        settings: Tensor,
        finite: Tensor,
    ) -> None:
        """Update as torch's fused optimizers do; see `mlpkit.engines.updates`."""
        change = self._sgd if self.plan.optimizer == "sgd" else self._adam
        for index, (value, gradient) in enumerate(zip(values, gradients, strict=True)):
            states = [value, *(average[index] for average in averages)]
            updated = change(states, gradient, settings)
            for old, new in zip(states, updated, strict=True):
                old.copy_(torch.where(finite, new, old))

    def _adam(self, states: list[Tensor], gradient: Tensor, settings: Tensor) -> list[Tensor]:
        value, mean, square = states
        setting = {name: _like(settings[index], value) for index, name in enumerate(SETTINGS)}
        if self.plan.decays and self.plan.optimizer == "adamw":
            value = value * (1 - setting["lr"] * setting["weight_decay"])
        elif self.plan.decays:
            gradient = gradient + value * setting["weight_decay"]
        mean = mean + (gradient - mean) * setting["first_weight"]
        square = square * setting["decay"] + gradient * gradient * setting["second_weight"]
        return [
            value
            - setting["step_size"]
            * mean
            / (square.sqrt() / setting["bias_correction2_sqrt"] + setting["eps"]),
            mean,
            square,
        ]

    def _sgd(self, states: list[Tensor], gradient: Tensor, settings: Tensor) -> list[Tensor]:
        value, *buffers = states
        setting = {name: _like(settings[index], value) for index, name in enumerate(SETTINGS)}
        if self.plan.decays:
            gradient = gradient + value * setting["weight_decay"]
        step = gradient
        if self.plan.momentum:
            step = buffers[0] * setting["decay"] + gradient * setting["first_weight"]
            buffers = [step]
            if self.plan.nesterov:
                step = gradient + step * setting["second_weight"]
        return [value - setting["lr"] * step, *buffers]

    def _layer(self, values: Sequence[Tensor], layer: int) -> tuple[Tensor, Tensor | None]:
        first = layer * self.per_layer
        return values[first], values[first + 1] if self.plan.bias else None


def _like(column: Tensor, values: Tensor) -> Tensor:
    """Reshape (K,) to broadcast with values (K, …)."""
    return column.view(-1, *[1] * (values.dim() - 1))


def _log1p(t: Tensor) -> Tensor:
    """Return log(1 + t) for 0 ≤ t ≤ 1 as a series of 2 artanh(t / (2 + t)), exact in float32.

    Torch compiles its own log1p to a function call, which takes longer than the rest of a small network.
    """
    if t.dtype == torch.float64:
        return torch.log1p(t)
    s = t / (2 + t)  # at most 1/3
    square, series = s * s, torch.full_like(s, 1 / 15)
    for odd in (13, 11, 9, 7, 5, 3, 1):
        series = series * square + 1 / odd
    return 2 * s * series


def _norms(gradients: Sequence[Tensor]) -> Tensor:
    """Return the norm of each run's gradient, (K, 1)."""
    return _sum([(g * g).flatten(1).sum(1, keepdim=True) for g in gradients]).sqrt()


def _sum(terms: Sequence[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
