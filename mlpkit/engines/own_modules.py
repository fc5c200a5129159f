"""Modules of K networks that are not known here: a user's own, and torch's others with parameters."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mlpkit.models.torch_own import OwnModule


class OwnModules:
    """Computes one module of each of K networks: mapped over the networks where that can be, else one by one.

    What torch.func.vmap cannot map draws at random, decides by values, or keeps buffers.
    """

    def __init__(self, modules: Sequence[nn.Module], parameters: Mapping[str, Tensor]) -> None:
        """Take the modules.

        Args:
            modules: of the networks, alike but for their values.
            parameters: (K, *shape) by name, each holding the modules' own ones.
        """
        self.modules, self.parameters = modules, parameters
        # What draws is not mapped, so the seeds of the draws are not needed there.
        first = modules[0]
        self.mapped, within = (first.module, "module.") if isinstance(first, OwnModule) else (first, "")
        self.mapped_parameters = {name.removeprefix(within): of for name, of in parameters.items()}
        self.can_be_mapped = bool(parameters) and not any(True for _ in modules[0].buffers())

    def __call__(self, inputs: Tensor, training: bool) -> Tensor:
        """Return (K, n, width) for inputs (K, n, in_features)."""
        for module in self.modules:
            module.train(training)
        if self.can_be_mapped:
            from torch.func import vmap  # which few runs need

            try:
                mapped: Tensor = vmap(self._one)(self.mapped_parameters, inputs)
                return mapped
            except (RuntimeError, ValueError):  # an error of the module's own is raised again below
                self.can_be_mapped = False
        return torch.stack([module(own) for module, own in zip(self.modules, inputs, strict=True)])

    def _one(self, parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
        from torch.func import functional_call

        outputs: Tensor = functional_call(self.mapped, parameters, (inputs,))
        return outputs
