"""Tries what the choices of plug-ins compute before a run starts, once and on small tensors on the CPU.

An update that is not elementwise and a wrong gradient raise no error in training: the run only gets worse.
"""

import torch
from torch import Tensor

from mlpkit.config.activation import ActivationConfig
from mlpkit.config.loss import LossConfig
from mlpkit.config.optimizer import OptimizerConfig
from mlpkit.config.plugins import calling, described
from mlpkit.errors import ConfigError

VALUES, STEPS, LR = 16, 3, 0.1  # of the steps that an optimizer is tried with
COPIES = 8  # of each row that a loss is tried with, with other outputs
POINTS = (-6.3, -2.1, -1.2, -0.37, 0.41, 0.93, 1.7, 7.9)  # z; no point where an activation may have a kink
TOLERANCE = 1e-3  # relative; far above the rounding of float32


def check_update(config: OptimizerConfig) -> None:
    """Try an optimizer's `update` on a tensor, and on its two halves.

    Raises:
        ConfigError: a slot is neither a tensor nor a number, the update fails or changes no value, or the
            halves come out otherwise than the whole.
    """
    what = described("optimizer", config)
    random = torch.Generator().manual_seed(0)
    values, gradients = (torch.randn(shape, generator=random) for shape in ((VALUES,), (STEPS, VALUES)))
    half = VALUES // 2
    with calling(f"{what}: slots", config):
        slots = config.slots()
    for slot, kind in slots.items():
        if kind not in ("tensor", "number"):
            raise ConfigError(f'{what}: slot {slot}: {kind!r} must be "tensor" or "number"')
    with calling(f"{what}: update", config):
        whole = _after_steps(config, values, gradients)
        first = _after_steps(config, values[:half], gradients[:, :half])
        second = _after_steps(config, values[half:], gradients[:, half:])
    if torch.equal(whole, values):
        raise ConfigError(f"{what}: update changes no value; change them in place, as values.sub_(…) does")
    if not torch.allclose(whole, torch.cat((first, second)), rtol=TOLERANCE, atol=1e-5, equal_nan=True):
        raise ConfigError(
            f"{what}: update is not elementwise: two halves of a tensor come out otherwise than the whole; "
            "compute each value from its own gradient and slots, without norms, means or random numbers"
        )


def _after_steps(config: OptimizerConfig, values: Tensor, gradients: Tensor) -> Tensor:
    """Return the values after some steps; the given ones stay as they are."""
    values = values.clone()
    kinds = config.slots().items()
    slots = {name: torch.zeros_like(values) if kind == "tensor" else torch.zeros(()) for name, kind in kinds}
    for gradient in gradients:
        config.update(values, gradient.clone(), slots, LR)
    return values


def check_gradient(loss: LossConfig, targets: Tensor, width: int) -> None:
    """Compare a loss's `gradient` with autograd's, for outputs around zero and around the targets.

    Args:
        loss: one that has `gradient`.
        targets: of some rows, as `LossConfig.per_example` takes them.
        width: number of outputs.

    Raises:
        ConfigError: a method fails, or the gradients differ.
    """
    what = described("loss", loss)
    targets = targets.repeat_interleave(COPIES, dim=0)
    with calling(what, loss):
        y = loss.expected(targets, width, torch.float32)
        around = y * (torch.arange(len(y)) % 2)[:, None]
        outputs = around + 2 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
        found = loss.gradient(outputs, y)
        of_runs = loss.gradient(*(of.reshape(COPIES, -1, *of.shape[1:]) for of in (outputs, y)))
        variable = outputs.clone().requires_grad_()
        losses = loss.per_example(variable, targets)
        expected = _differentiate(losses, variable)
    if of_runs.shape[1:] != (len(y) // COPIES, width) or not torch.allclose(
        of_runs.flatten(0, 1), found, rtol=TOLERANCE, atol=1e-5, equal_nan=True
    ):
        raise ConfigError(
            f"{what}: gradient differs for outputs of shape (runs, rows, width), which a sweep has; "
            "use -1 for the width, not 1"
        )
    _compare(f"{what}: gradient", "an output", found, expected, outputs)


def check_derivative(activation: ActivationConfig) -> None:
    """Try an activation's `function`, and compare its `derivative`, if it has one, with autograd's.

    Raises:
        ConfigError: a method fails or returns another shape, or the derivatives differ.
    """
    what = described("model.activation", activation)
    with calling(what, activation):
        z = torch.tensor(POINTS)
        found = activation.derivative(z)
        if found is None and activation.torch_class:
            return
        variable = z.clone().requires_grad_()
        activations = activation.function(variable)
    if activations.shape != z.shape:
        shapes = f"{tuple(activations.shape)} for {tuple(z.shape)}"
        raise ConfigError(f"{what}: function returns {shapes}; return the same shape")
    if found is not None:
        _compare(f"{what}: derivative", "z", found, _differentiate(activations, variable), z)


def _differentiate(values: Tensor, variable: Tensor) -> Tensor | None:
    """Return the gradient of a sum; None where nothing depends on the variable, as after `detach`."""
    if not values.requires_grad:
        return None
    (gradient,) = torch.autograd.grad(values.sum(), variable)
    return gradient


def _compare(what: str, where: str, found: Tensor, expected: Tensor | None, at: Tensor) -> None:
    if expected is None:
        return
    if found.shape != expected.shape:
        raise ConfigError(f"{what} returns {tuple(found.shape)} for {tuple(at.shape)}; return the same shape")
    finite = expected.isfinite()  # not all losses are defined for all outputs
    found, expected, at = found[finite], expected[finite], at[finite]
    if not len(at):
        return
    bound = TOLERANCE * (expected.abs() + expected.abs().median()) + 1e-6
    difference = (found - expected).abs() / bound
    difference = torch.where(difference.isnan(), torch.inf, difference)
    worst = int(difference.argmax())
    if difference[worst] > 1:
        method = what.rpartition(" ")[2]
        raise ConfigError(
            f"{what} is {float(found[worst]):.4g} at {where} of {float(at[worst]):.4g}, where autograd finds "
            f"{float(expected[worst]):.4g}; mend it, or remove {method}: then autograd computes it"
        )
