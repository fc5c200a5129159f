"""Adam, with the options and defaults of torch.optim.Adam (Kingma, Ba 2015), and the base class of AdamW."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, WithJsonSchema

from mlpkit.config.optimizer import Buffers, OptimizerConfig, Slots, Step
from mlpkit.config.registry import choice
from mlpkit.config.section import Fraction, NotNegative, Positive

if TYPE_CHECKING:
    from torch import Tensor


class AdamOptions(OptimizerConfig):
    """Options and state that Adam and AdamW share."""

    has_auto_lr = True
    lr: Annotated[
        Positive,
        WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"const": "auto"}]}),
    ] = Field(0.001, description="learning rate", json_schema_extra={"default": "auto"})
    betas: tuple[Fraction, Fraction] = Field(
        (0.9, 0.999), strict=False, description="decay of the averages of the gradient and of its square"
    )
    eps: NotNegative = Field(1e-8, description="added to the denominator")
    weight_decay: NotNegative  # each has its own default

    decay_formula: ClassVar[str] = "g ← g + {:g} θ"

    def formulas(self) -> tuple[str, ...]:
        """See `OptimizerConfig.formulas`."""
        beta1, beta2 = self.betas
        return (
            *((self.decay_formula.format(self.weight_decay),) if self.weight_decay else ()),
            f"m ← {beta1:g} m + {1 - beta1:g} g; m is exp_avg",
            f"v ← {beta2:g} v + {1 - beta2:g} g²; v is exp_avg_sq",
            f"θ ← θ - lr (m / (1 - {beta1:g}ᵗ)) / (√(v / (1 - {beta2:g}ᵗ)) + {self.eps:g}); t is the step",
        )

    def slots(self) -> Slots:
        """See `OptimizerConfig.slots`."""
        return {"step": "number", "exp_avg": "tensor", "exp_avg_sq": "tensor"}

    def keeps_zeros(self) -> bool:
        """See `OptimizerConfig.keeps_zeros`; with eps = 0 the update would be 0 / 0."""
        return self.eps > 0

    def fused_step(self, kernel: Callable[..., None], buffers: Buffers) -> Step:
        """Return a function that takes a step with one of torch's fused kernels."""
        import torch

        count = buffers.numbers["step"]
        # A tensor: torch would convert a Python number at each step, which takes longer than the addition.
        one = torch.ones_like(count)
        averages = buffers.tensors["exp_avg"], buffers.tensors["exp_avg_sq"]
        counts = [count] * len(buffers.values)
        lists = buffers.values, buffers.gradients, *averages, list["Tensor"](), counts
        beta1, beta2 = self.betas
        options = {
            "beta1": beta1,
            "beta2": beta2,
            "weight_decay": self.weight_decay,
            "eps": self.eps,
            "amsgrad": False,
            "maximize": False,
        }

        def step(lr: "float | Tensor") -> None:
            count.add_(one)
            kernel(*lists, lr=lr, **options)

        return step


@choice("optimizer")
class Adam(AdamOptions):
    """Adam (torch.optim.Adam)."""

    name: Literal["adam"]
    weight_decay: NotNegative = Field(0.0, description="L2 penalty")

    def fused(self, buffers: Buffers) -> Step:
        """See `OptimizerConfig.fused`."""
        import torch

        return self.fused_step(torch._fused_adam_, buffers)
