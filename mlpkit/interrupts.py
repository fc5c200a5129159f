"""Ctrl-C and SIGTERM as a wish to stop, which the loop grants between two steps."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mlpkit.errors import RunInterruptedError


class Wish:
    """Whether somebody wants the run to stop, and the signal that said so."""

    signal_number: int | None = None

    def check(self) -> None:
        """Stop here if so.

        Raises:
            RunInterruptedError: with the exit code that shells give the signal.
        """
        if self.signal_number is not None:
            raise RunInterruptedError(self.signal_number)


@contextmanager
def polite_signals() -> Iterator[Wish]:
    """Turn the first SIGINT or SIGTERM into a wish; a second SIGINT stops at once, as always."""
    wish = Wish()

    def note(number: int, frame: FrameType | None) -> None:
        if wish.signal_number is not None:
            raise KeyboardInterrupt
        wish.signal_number = number

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
