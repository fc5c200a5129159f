"""TabM: multilayer perceptrons that share most of their weights."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

from mlpkit.config.model import Layer
from mlpkit.config.registry import choice
from mlpkit.models.layers import linear, member_inputs, member_outputs, member_scale
from mlpkit.models.mlp import HiddenLayers


@choice("model")
class TabmModel(HiddenLayers):
    """Multilayer perceptrons that share most of their weights (TabM), for any task."""

    name: Literal["tabm"]
    members: Annotated[int, Field(ge=1, le=1000)] = Field(
        32, description="members that share most of their weights; the mean of their predictions is predicted"
    )
    mini: bool = Field(
        False,
        description="TabM-mini: members differ only in the factors on their inputs and in the last layer",
    )

    @property
    def networks(self) -> int:
        """See `ModelConfig.networks`: the members share their weights."""
        return 1

    def layers(self, features: int, width: int) -> list[Layer]:
        """See `ModelConfig.layers`.

        Each shared linear layer has factors of each member before it, and factors and a bias after it. With
        `mini`, only the inputs have factors.
        """
        found = [member_inputs(features, self.members)]
        for in_features, out_features in pairwise((features, *self.hidden)):
            if not self.mini and len(found) > 1:
                found.append(member_scale(in_features, self.members, bias=False))
            found.append(linear(in_features, out_features, bias=self.mini))
            if not self.mini:
                found.append(member_scale(out_features, self.members, bias=True))
            found += self.after_linear(out_features)
        return [*found, member_outputs(self.hidden[-1], width, self.members)]
