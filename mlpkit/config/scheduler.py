"""Learning-rate schedules, named after torch's classes."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mlpkit.config.section import Count, Factor, NotNegative, Positive, Section, rule_error


class SchedulerOptions(Section):
    """What every schedule has."""

    warmup_steps: int = Field(
        0, ge=0, le=10**9, description="steps of linear warm-up in front of the schedule"
    )


class ConstantSchedule(SchedulerOptions):
    """The learning rate stays as it is."""

    name: Literal["none"]


class EpochSchedule(SchedulerOptions):
    """A schedule whose time is counted in epochs unless `unit` says otherwise."""

    unit: Literal["epoch", "step"] = Field("epoch", description="what the schedule counts")


class StepSchedule(SchedulerOptions):
    """A schedule whose time is counted in optimizer steps unless `unit` says otherwise."""

    unit: Literal["epoch", "step"] = Field("step", description="what the schedule counts")


class StepDecay(EpochSchedule):
    """Decay by gamma every step_size units (torch StepLR)."""

    name: Literal["step"]
    step_size: Count = Field(10, description="units between two decays")
    gamma: Positive = Field(0.1, description="factor of a decay")


class MultiStepDecay(EpochSchedule):
    """Decay by gamma at each milestone (torch MultiStepLR)."""

    name: Literal["multistep"]
    milestones: tuple[Count, ...] = Field(
        (10, 20), min_length=1, strict=False, description="units at which the rate decays, in rising order"
    )
    gamma: Positive = Field(0.1, description="factor of a decay")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if list(self.milestones) != sorted(self.milestones):
            raise rule_error(f"milestones={list(self.milestones)} must be in rising order")
        return self


class ExponentialDecay(EpochSchedule):
    """Decay by gamma every unit (torch ExponentialLR)."""

    name: Literal["exponential"]
    gamma: Positive = Field(0.95, description="factor of a unit")


class CosineDecay(StepSchedule):
    """Half a cosine from lr down to eta_min (torch CosineAnnealingLR)."""

    name: Literal["cosine"]
    t_max: Count | None = Field(None, description="units of the half cosine; null: the whole run")
    eta_min: NotNegative = Field(0.0, description="last learning rate")


class LinearDecay(StepSchedule):
    """A straight line between two factors of lr (torch LinearLR)."""

    name: Literal["linear"]
    start_factor: Factor = Field(1.0, description="first factor of lr")
    end_factor: float = Field(0.0, ge=0, le=1, description="last factor of lr")
    total_iters: Count | None = Field(None, description="units of the line; null: the whole run")


class OneCycle(StepSchedule):
    """Up to lr and down again over the whole run (torch OneCycleLR, momentum left alone)."""

    name: Literal["onecycle"]
    pct_start: Factor = Field(0.3, description="share of the run spent rising")
    anneal_strategy: Literal["cos", "linear"] = Field("cos", description="shape of the rise and the fall")
    div_factor: Positive = Field(25.0, description="the first rate is lr / div_factor")
    final_div_factor: Positive = Field(1e4, description="the last rate is the first / final_div_factor")


class Plateau(SchedulerOptions):
    """Decay when the monitored score stops improving (torch ReduceLROnPlateau)."""

    name: Literal["plateau"]
    factor: float = Field(0.1, gt=0, lt=1, description="factor of a decay")
    patience: int = Field(10, ge=0, le=10**9, description="epochs without improvement before a decay")
    threshold: NotNegative = Field(1e-4, description="smallest change that counts as improvement")
    threshold_mode: Literal["rel", "abs"] = Field("rel", description="threshold is relative or absolute")
    cooldown: int = Field(0, ge=0, le=10**9, description="epochs to wait after a decay")
    min_lr: NotNegative = Field(0.0, description="lowest learning rate")
    eps: NotNegative = Field(1e-8, description="smallest decay that is carried out")


SchedulerConfig = Annotated[
    ConstantSchedule
    | StepDecay
    | MultiStepDecay
    | ExponentialDecay
    | CosineDecay
    | LinearDecay
    | OneCycle
    | Plateau,
    Field(discriminator="name"),
]
