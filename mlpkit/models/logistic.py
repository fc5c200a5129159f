"""Logistic regression."""

from typing import Literal

from pydantic import Field

from mlpkit.config.model import Layer, ModelConfig
from mlpkit.config.registry import choice
from mlpkit.models.layers import linear


@choice("model")
class LogisticModel(ModelConfig):
    """Logistic regression, binary or multinomial, or one for each label."""

    name: Literal["logistic"]
    tasks = ("binary", "multiclass", "multilabel")
    has_one_layer = True
    bias: bool = Field(True, description="add a bias")

    def layers(self, features: int, width: int) -> list[Layer]:
        """See `ModelConfig.layers`."""
        return [linear(features, width, self.bias)]
