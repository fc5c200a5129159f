"""Optimizers, with torch's own options and defaults."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mlpkit.config.section import Fraction, NotNegative, Positive, Section, rule_error


class Sgd(Section):
    """Stochastic gradient descent (torch.optim.SGD)."""

    name: Literal["sgd"]
    lr: Positive = Field(0.001, description="learning rate")
    momentum: NotNegative = Field(0.0, description="momentum")
    dampening: float = Field(0.0, description="dampening of the momentum")
    weight_decay: NotNegative = Field(0.0, description="L2 penalty")
    nesterov: bool = Field(False, description="Nesterov momentum")

    def slots(self) -> tuple[tuple[str, bool], ...]:
        """Return what is kept for each parameter: names, and whether it is one number."""
        return (("momentum_buffer", False),) if self.momentum else ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise rule_error("nesterov=true needs momentum > 0 and dampening = 0")
        return self


class AdamOptions(Section):
    """What Adam and AdamW share."""

    lr: Positive = Field(0.001, description="learning rate")
    betas: tuple[Fraction, Fraction] = Field(
        (0.9, 0.999), strict=False, description="decay of the averages of the gradient and of its square"
    )
    eps: NotNegative = Field(1e-8, description="added to the denominator")

    def slots(self) -> tuple[tuple[str, bool], ...]:
        """Return what is kept for each parameter: names, and whether it is one number."""
        return (("step", True), ("exp_avg", False), ("exp_avg_sq", False))


class Adam(AdamOptions):
    """Adam (torch.optim.Adam)."""

    name: Literal["adam"]
    weight_decay: NotNegative = Field(0.0, description="L2 penalty")


class AdamW(AdamOptions):
    """Adam with decoupled weight decay (torch.optim.AdamW)."""

    name: Literal["adamw"]
    weight_decay: NotNegative = Field(0.01, description="decoupled weight decay")


OptimizerConfig = Annotated[Sgd | Adam | AdamW, Field(discriminator="name")]
