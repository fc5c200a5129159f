"""Muon, with the options of torch.optim.Muon, and AdamW for all but the matrices (Jordan et al. 2024)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.optimizer import Buffers, Step
from mlpkit.config.registry import choice
from mlpkit.config.section import Count, Fraction, NotNegative, Positive
from mlpkit.optimizers.adam import AdamOptions

if TYPE_CHECKING:
    from torch import Tensor

COEFFICIENTS = 3.4445, -4.7750, 2.0315  # of the Newton–Schulz iteration
SMALLEST_NORM = 1e-7


@choice("optimizer")
class Muon(AdamOptions):
    """Orthogonal steps (torch.optim.Muon) for all weight matrices but the last; AdamW for the rest."""

    has_auto_lr = False
    has_layers = True
    name: Literal["muon"]
    lr: Positive = Field(0.001, description="learning rate of the matrices")
    adam_lr: Positive | None = Field(None, description="learning rate of AdamW; null: the same")
    momentum: Fraction = Field(0.95, description="decay of the average of a matrix's gradient")
    nesterov: bool = Field(True, description="Nesterov momentum")
    ns_steps: Count = Field(5, lt=100, description="iterations that make a step nearly orthogonal")
    adjust_lr_fn: Literal["match_rms_adamw", "original"] = Field(
        "match_rms_adamw",
        description="match_rms_adamw: steps as long as AdamW's, so that lr suits both; original: the first "
        "program's, for an lr of about 0.02",
    )
    weight_decay: NotNegative = Field(0.01, description="decoupled weight decay, also of AdamW")

    def fused(self, buffers: Buffers) -> Step:
        """See `OptimizerConfig.fused`; the average of a matrix's gradient is in AdamW's `exp_avg`."""
        import torch

        # With members that share weights, their biases and factors are matrices too, but no layer's.
        layers = [
            index
            for index, (name, values) in enumerate(zip(buffers.names, buffers.values, strict=True))
            if values.dim() > 2 and not name.endswith((".bias", ".scale"))
        ]
        matrices = [index for index in layers[:-1] if buffers.values[index].dim() == 3]
        others = [index for index in range(len(buffers.values)) if index not in matrices]
        parts = buffers.values, buffers.gradients, buffers.tensors["exp_avg"]
        of_matrices = [tuple(part[index] for part in parts) for index in matrices]
        tensors = {name: [own[index] for index in others] for name, own in buffers.tensors.items()}
        values, gradients, _ = ([part[index] for index in others] for part in parts)
        of_others = Buffers(values, gradients, tensors, buffers.numbers)
        update_others = self.fused_step(torch._fused_adamw_, of_others)
        share = 1.0 if self.adam_lr is None else self.adam_lr / self.lr  # of lr, which a schedule changes

        def step(lr: "float | Tensor") -> None:
            for matrix, gradient, average in of_matrices:
                self._update_matrix(matrix, gradient, average, lr)
            update_others(lr * share)

        return step

    def _update_matrix(
        self, values: "Tensor", gradients: "Tensor", average: "Tensor", lr: "float | Tensor"
    ) -> None:
        """Take a step of a layer's weights (runs, out, in)."""
        average.lerp_(gradients, 1 - self.momentum)
        direction = gradients.lerp(average, self.momentum) if self.nesterov else average
        rows, columns = values.shape[-2:]
        if self.adjust_lr_fn == "original":
            factor = max(1, rows / columns) ** 0.5
        else:
            factor = 0.2 * max(rows, columns) ** 0.5
        values.mul_(1 - lr * self.weight_decay).sub_(lr * factor * orthogonal(direction, self.ns_steps))

    def keeps_zeros(self) -> bool:
        """See `OptimizerConfig.keeps_zeros`: zeros stay, but the length of a step depends on the shape."""
        return False

    def formulas(self) -> tuple[str, ...]:
        """See `OptimizerConfig.formulas`; those of a single weight do not exist."""
        return ()


def orthogonal(matrices: "Tensor", steps: int) -> "Tensor":
    """Return U Vᵀ of matrices (K, out, in) = U S Vᵀ, with singular values between 0.5 and 1.5 instead of 1.

    The Newton–Schulz iteration of torch.optim.Muon, which computes it in bfloat16. Here it has the precision
    of the weights, so that runs that are trained together have the steps of each alone.
    """
    import torch

    a, b, c = COEFFICIENTS
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    found = matrices.mT if is_tall else matrices
    found = found / torch.linalg.matrix_norm(found, keepdim=True).clamp_(min=SMALLEST_NORM)
    for _ in range(steps):
        gram = torch.bmm(found, found.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        found = torch.baddbmm(found, polynomial, found, beta=a)
    return found.mT if is_tall else found
