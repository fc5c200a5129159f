"""What is not finite, noted on a device while the host goes on, and read when scores or weights are."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mlpkit.errors import diverged


class Flag:
    """A flag on a device: once it is set, the optimizer's kernels leave the weights as they are.

    Attributes:
        value: (1,), 1 where something was not finite, else 0.
    """

    def __init__(self, device: str) -> None:
        """Begin with a flag that is not set."""
        self.value, self._good, self._one = torch.zeros(3, 1, device=device).unbind()
        self._one.fill_(1)
        self._first: int | None = None  # step since the flag was read
        self._epoch = 0

    def begin(self, step: int, epoch: int) -> None:
        """Take a step: so many steps and epochs have been done before."""
        self._first, self._epoch = step if self._first is None else self._first, epoch

    def note(self, values: Sequence[Tensor]) -> None:
        """Set the flag where a value is not finite."""
        torch._amp_foreach_non_finite_check_and_unscale_(list(values), self.value, self._one)

    def count(self) -> None:
        """Count the step, which has been noted as far as it goes, where it was good."""
        self._good.add_(self._one).sub_(self.value)

    def read(self) -> None:
        """Wait for the device, and read the flag.

        Raises:
            NonFiniteError: it is set; the weights are those before the step that set it.
        """
        if self._first is None:
            return
        first, self._first = self._first, None
        flag, good = torch.cat((self.value, self._good)).tolist()
        self._good.zero_()
        if flag:
            step = first + int(good) + 1
            raise diverged(step, self._epoch + 1, "the loss or a gradient is not finite")
