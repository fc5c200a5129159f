"""Multilayer perceptron."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mlpkit.config.model import Layer, ModelConfig
from mlpkit.config.registry import NameOf, choice
from mlpkit.config.section import Fraction, NotNegative, Positive, Width, rule_error
from mlpkit.models.layers import (
    activation,
    batch_norm,
    dropout,
    input_scale,
    layer_norm,
    linear,
    periodic_embedding,
)

AUTO_DROPOUT = 0.2  # of classes; a regression's values become less exact by any

Range = Annotated[
    tuple[NotNegative, NotNegative],
    Field(strict=False, json_schema_extra={"rule": "two numbers above 0, the lower one first"}),
]


class HiddenLayers(ModelConfig):
    """The options that models with hidden layers share."""

    hidden: tuple[Width, ...] = Field(
        (64, 64), min_length=1, max_length=100, strict=False, description="widths of the hidden layers"
    )
    activation: Annotated[str, NameOf("activation")] = Field(
        "relu", description="function between the layers"
    )
    dropout: Fraction | Literal["auto"] = Field(
        0.0, description="share of hidden units dropped in training; auto: 0.2, and 0 for a regression"
    )
    dropout_kind: Literal["standard", "alpha"] = Field(
        "standard", description="alpha: torch.nn.AlphaDropout, for activation=selu"
    )
    embedding: Literal["none", "periodic"] = Field(
        "none", description="periodic: some waves of each number among the inputs are added to them"
    )
    embedding_frequencies: Annotated[int, Field(ge=1, le=1000)] = Field(
        16, description="trained waves of each number, with embedding=periodic"
    )
    embedding_std: NotNegative | Range = Field(
        0.3,
        description="standard deviation of the first frequencies; [0.1, 3]: each wave has its own, from 0.1 "
        "to 3 in equal ratios",
    )
    embedding_width: Annotated[int, Field(ge=1, le=1000)] = Field(
        3, description="values that become of each number's waves, by a linear layer of its own"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if isinstance(self.embedding_std, tuple):
            low, high = self.embedding_std
            if not 0 < low < high:
                raise rule_error(
                    f"embedding_std=[{low},{high}]: must be two numbers above 0, the lower one first"
                )
        return self

    def input_layers(self, features: int, numbers: Sequence[int]) -> list[Layer]:
        """See `ModelConfig.input_layers`."""
        if self.embedding == "none" or not numbers:
            return []
        sizes = self.embedding_frequencies, self.embedding_width, self.embedding_std
        return [periodic_embedding(features, numbers, *sizes)]

    def for_task(self, task: str) -> Self:
        """See `ModelConfig.for_task`."""
        if self.dropout != "auto":
            return self
        return self.model_copy(update={"dropout": 0.0 if task == "regression" else AUTO_DROPOUT})

    def after_linear(self, width: int) -> list[Layer]:
        """Return the activation and the dropout of a hidden layer."""
        found = [activation(self.activation, width)]
        if self.dropout and self.dropout != "auto":
            found.append(dropout(width, self.dropout, self.dropout_kind == "alpha"))
        return found


@choice("model")
class MlpModel(HiddenLayers):
    """Multilayer perceptron, for any task."""

    name: Literal["mlp"]
    norm: Literal["none", "batch", "layer"] = Field("none", description="normalisation before the activation")
    bias: bool = Field(True, description="add biases")
    input_scale: bool = Field(False, description="multiply each input by a trained factor, 1 at first")
    input_scale_lr: Positive = Field(
        6.0, description="times how much the steps of these factors are longer than others"
    )

    def input_layers(self, features: int, numbers: Sequence[int]) -> list[Layer]:
        """See `ModelConfig.input_layers`; the factors multiply the embedded values as well."""
        found = super().input_layers(features, numbers)
        if self.input_scale:
            width = found[-1].out_features if found else features
            found.append(input_scale(width, self.input_scale_lr))
        return found

    def layers(self, features: int, width: int) -> list[Layer]:
        """See `ModelConfig.layers`; norm, activation and dropout follow all linear layers but the last."""
        found = []
        for in_features, out_features in pairwise((features, *self.hidden)):
            found.append(linear(in_features, out_features, self.bias))
            if self.norm != "none":
                found.append(batch_norm(out_features) if self.norm == "batch" else layer_norm(out_features))
            found += self.after_linear(out_features)
        return [*found, linear(self.hidden[-1], width, self.bias)]

    def problem_with_one_row(self) -> str | None:
        """See `ModelConfig.problem_with_one_row`."""
        if self.norm != "batch":
            return None
        return "model.norm=batch needs two; change the batch size or set model.norm=layer"
