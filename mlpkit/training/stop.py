"""Ctrl-C, SIGTERM and others: a wish to stop, which the loop grants between two steps; elsewhere, the end."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from mlpkit.errors import RunInterruptedError
from mlpkit.system.atomic_write import remove_unfinished

# SIGHUP: the terminal has been closed. SIGUSR1, SIGUSR2, SIGXCPU: a batch system says that time is up.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
NUMBERS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]


class StopRequest:
    """Whether somebody wants the run to stop.

    Attributes:
        signal_number: the signal that said so; None while nobody does.
        at_once: a signal does not wait to be asked for, since all that matters has been saved.
    """

    signal_number: int | None = None
    at_once = False

    def check(self) -> None:
        """Stop here if so.

        Raises:
            RunInterruptedError: with the exit code that shells give the signal.
        """
        if self.signal_number is not None:
            raise RunInterruptedError(self.signal_number)


_outer: StopRequest | None = None  # that of the block around, where a sweep trains single runs


@contextmanager
def polite_signals() -> Iterator[StopRequest]:
    """Turn the first of the signals into a wish; a SIGINT after that stops at once.

    Raises:
        RunInterruptedError: it did so, and nobody inside had more to say of it.
    """
    global _outer
    wish, outer = StopRequest(), _outer

    def note(number: int, frame: FrameType | None) -> None:
        again = wish.signal_number is not None
        wish.signal_number = wish.signal_number or number
        if (wish.at_once and not again) or (again and number == signal.SIGINT):
            raise KeyboardInterrupt  # which no library takes for an error of its own

    before = {number: signal.signal(number, note) for number in NUMBERS if _is_heard(number)}
    if outer is not None:  # what came before anybody inside listened
        wish.signal_number = wish.signal_number or outer.signal_number
    _outer = wish
    try:
        yield wish
    except KeyboardInterrupt:
        raise RunInterruptedError(wish.signal_number or signal.SIGINT, "interrupted") from None
    finally:
        _outer = outer
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_at_once() -> None:
    """Let a signal end the process between two instructions, with one line and its exit code.

    That holds from the first import on. An exception would not do: raised while a library loads, it
    may be swallowed there, or leave half a library behind.
    """
    for number in NUMBERS:
        if _is_heard(number):
            signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    remove_unfinished()
    with suppress(OSError):  # such as a terminal that has been closed
        os.write(2, b"mlpkit: interrupted\n")
    os._exit(128 + number)


def _is_heard(number: int) -> bool:
    """Whether whoever started the process lets it hear the signal: nohup and `&` in scripts may not."""
    return signal.getsignal(number) is not signal.SIG_IGN
