"""Runs K networks' modules that have no batched version here: a user's own, and torch's with parameters."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mlpkit.models.torch_own import OwnModule


class OwnModules:
    """Computes one module of K networks: with torch.func.vmap if possible, else one network after another.

    torch.func.vmap cannot map modules that draw random numbers, branch on values or update buffers.
    """

    def __init__(self, modules: Sequence[nn.Module], parameters: Mapping[str, Tensor]) -> None:
        """Check whether the modules can be mapped.

        Args:
            modules: one module of each network; they differ only in their values.
            parameters: (K, *shape) by name, which hold the modules' parameters.
        """
        self.modules, self.parameters = modules, parameters
        # `OwnModule` only seeds random draws, and modules that draw are not mapped: map the inner module.
        first = modules[0]
        self.mapped, within = (first.module, "module.") if isinstance(first, OwnModule) else (first, "")
        self.mapped_parameters = {
            name.removeprefix(within): parameter for name, parameter in parameters.items()
        }
        self.can_be_mapped = bool(parameters) and not any(True for _ in modules[0].buffers())

    def __call__(self, inputs: Tensor, training: bool) -> Tensor:
        """Return (K, n, width) for inputs (K, n, in_features)."""
        for module in self.modules:
            module.train(training)
        if self.can_be_mapped:
            from torch.func import vmap  # imported here since few runs need it

            try:
                mapped: Tensor = vmap(self._one)(self.mapped_parameters, inputs)
                return mapped
            except (RuntimeError, ValueError):  # an error in the module itself is raised again below
                self.can_be_mapped = False
        return torch.stack([module(own) for module, own in zip(self.modules, inputs, strict=True)])

    def _one(self, parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
        from torch.func import functional_call

        outputs: Tensor = functional_call(self.mapped, parameters, (inputs,))
        return outputs
