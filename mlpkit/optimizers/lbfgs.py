"""L-BFGS, by torch.optim.LBFGS (Liu, Nocedal 1989)."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mlpkit.config.optimizer import Buffers, OptimizerConfig, Slots, Step
from mlpkit.config.registry import choice
from mlpkit.config.section import Count, NotNegative, Positive

if TYPE_CHECKING:
    from torch import Tensor


@choice("optimizer")
class Lbfgs(OptimizerConfig):
    """L-BFGS with line search (torch.optim.LBFGS), for small data and networks: full batches on a CPU."""

    name: Literal["lbfgs"]
    has_line_search = True
    lr: Positive = Field(1.0, description="first length that the line search tries")
    max_iter: Count = Field(20, description="iterations in a step; an epoch is one step")
    max_eval: Count | None = Field(
        None, description="times that a step may compute the loss; null: 1.25 max_iter"
    )
    tolerance_grad: NotNegative = Field(1e-7, description="a step ends if no entry of the gradient is larger")
    tolerance_change: NotNegative = Field(
        1e-9, description="a step ends if the weights or the loss change by less"
    )
    weight_decay: NotNegative = Field(0.0, description="L2 penalty")
    history_size: Annotated[int, Field(ge=1, le=100)] = Field(
        10, description="changes of weights and gradients that are kept"
    )
    line_search: Literal["strong_wolfe", "none"] = Field(
        "strong_wolfe", description="how the length of a step is found; none: it is lr"
    )

    def slots(self) -> Slots:
        """See `OptimizerConfig.slots`.

        `step` is the last change of the weights and `prev_grad` the gradient before it. y and s are the kept
        changes of the gradient and the weights, the oldest first, `pairs` of them.
        """
        kept: Slots = {f"{kind}{place}": "tensor" for place in range(self.history_size) for kind in "ys"}
        return {"n_iter": "number", "pairs": "number", "prev_grad": "tensor", "step": "tensor", **kept}

    def fused(self, buffers: Buffers) -> Step:
        """See `OptimizerConfig.fused`; the state is read from the slots at each step, and written to them.

        So a run that was resumed computes what one that was not does.
        """
        from torch import nn
        from torch.optim import LBFGS

        (values,), (gradients,) = buffers.values, buffers.gradients
        parameter = nn.Parameter(values, requires_grad=False)
        parameter.grad = gradients
        optimizer = LBFGS(
            [parameter],
            max_iter=self.max_iter,
            max_eval=self.max_eval,
            tolerance_grad=self.tolerance_grad,
            tolerance_change=self.tolerance_change,
            history_size=self.history_size,
            line_search_fn=None if self.line_search == "none" else self.line_search,
        )

        def loss() -> float:
            assert buffers.loss is not None
            found = buffers.loss()
            if not self.weight_decay:
                return found
            gradients.add_(values, alpha=self.weight_decay)
            return found + self.weight_decay / 2 * float(values.dot(values))

        def step(lr: "float | Tensor") -> None:
            optimizer.param_groups[0]["lr"] = float(lr)
            optimizer.state[parameter] = self._read(buffers)
            optimizer.step(loss)  # type: ignore[no-untyped-call]
            self._write(optimizer.state[parameter], buffers)

        return step

    def _read(self, buffers: Buffers) -> dict[str, Any]:
        """Return the state as torch has it; {} before the first iteration."""
        if not buffers.numbers["n_iter"]:
            return {}
        (step,), (gradient,) = buffers.tensors["step"], buffers.tensors["prev_grad"]
        kept = range(int(buffers.numbers["pairs"]))
        y, s = ([buffers.tensors[f"{kind}{place}"][0].clone() for place in kept] for kind in "ys")
        products = [own.dot(other) for own, other in zip(y, s, strict=True)]
        return {
            "n_iter": int(buffers.numbers["n_iter"]),
            "func_evals": 0,
            "d": step.clone(),
            "t": 1.0,
            "old_dirs": y,
            "old_stps": s,
            "ro": [1.0 / product for product in products],
            "H_diag": products[-1] / y[-1].dot(y[-1]) if y else 1,
            "prev_flat_grad": gradient.clone(),
        }

    def _write(self, state: dict[str, Any], buffers: Buffers) -> None:
        """Copy torch's state to the slots."""
        if "d" not in state:  # the gradient was small enough at the first step
            return
        buffers.numbers["n_iter"].fill_(state["n_iter"])
        buffers.numbers["pairs"].fill_(len(state["old_dirs"]))
        buffers.tensors["step"][0].copy_(state["d"].mul(state["t"]))
        buffers.tensors["prev_grad"][0].copy_(state["prev_flat_grad"])
        for kind, kept in (("y", state["old_dirs"]), ("s", state["old_stps"])):
            for place, values in enumerate(kept):
                buffers.tensors[f"{kind}{place}"][0].copy_(values)
