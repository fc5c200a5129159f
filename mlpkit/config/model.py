"""Models and their options."""

from typing import Annotated, Literal

from pydantic import Field

from mlpkit.config.section import Fraction, Section, Width


class LinearModel(Section):
    """Linear regression."""

    name: Literal["linear"]
    bias: bool = Field(True, description="add a bias")


class LogisticModel(Section):
    """Logistic regression, binary or multinomial."""

    name: Literal["logistic"]
    bias: bool = Field(True, description="add a bias")


class MlpModel(Section):
    """Multilayer perceptron, for any task."""

    name: Literal["mlp"]
    hidden: tuple[Width, ...] = Field(
        (64, 64), min_length=1, max_length=100, strict=False, description="widths of the hidden layers"
    )
    activation: Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "identity"] = Field(
        "relu", description="function between the layers"
    )
    dropout: Fraction = Field(0.0, description="share of hidden units dropped in training")
    norm: Literal["none", "batch", "layer"] = Field("none", description="normalisation before the activation")
    bias: bool = Field(True, description="add biases")


ModelConfig = Annotated[LinearModel | LogisticModel | MlpModel, Field(discriminator="name")]
