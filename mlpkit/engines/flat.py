"""All trained values of K equal networks in one buffer, and more buffers of the same layout."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Flat:
    """Holds the parameters of K networks in one buffer, in the order of `named_parameters`.

    The K versions of a parameter lie together, so that products of all networks are written in one piece.
    The networks' own parameters become views of the buffer: what is written here is theirs at once.

    Attributes:
        networks: K.
        shapes: of each parameter of a network, by name.
        values: (K · P), all parameters.
        gradients: (K · P), likewise.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        """Move the networks' parameters into the buffer."""
        named = [dict(network.named_parameters()) for network in networks]
        self.networks = len(named)
        self.shapes = {name: parameter.shape for name, parameter in named[0].items()}
        self.values = torch.cat([of[name].detach().reshape(-1) for name in self.shapes for of in named])
        self.gradients = torch.zeros_like(self.values)
        for name, view in self.views(self.values).items():
            for of, values in zip(named, view, strict=True):
                of[name].data = values

    def views(self, buffer: Tensor) -> dict[str, Tensor]:
        """Return the parts (K, *shape) of a buffer (K · P), by the parameters' names."""
        parts = torch.split(buffer, [self.networks * shape.numel() for shape in self.shapes.values()])
        return {
            name: part.view(self.networks, *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }
