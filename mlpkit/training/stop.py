"""Handles stop signals (Ctrl-C, SIGTERM, ...): training stops after a step, other code at once."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from mlpkit.errors import RunInterruptedError
from mlpkit.system.atomic_write import remove_unfinished

# SIGHUP: the terminal was closed. SIGUSR1, SIGUSR2, SIGXCPU: sent by batch systems when time is up.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
NUMBERS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]


class StopRequest:
    """Tells whether a stop signal has arrived.

    Attributes:
        signal_number: the signal; None until one arrives.
        at_once: whether a signal raises at once instead of waiting for `check`.
        decided: returns the signal that all processes of a training know of; None where one trains alone.
    """

    signal_number: int | None = None
    at_once = False
    decided: Callable[[], int | None] | None = None

    def request(self, signal_number: int | None) -> None:
        """Ask to stop, as if a signal had arrived; only the first one counts."""
        self.signal_number = self.signal_number or signal_number

    def check(self) -> None:
        """Stop here if a stop signal has arrived.

        Raises:
            RunInterruptedError: a stop signal has arrived.
        """
        number = self.signal_number if self.decided is None else self.decided()
        if number is not None:
            raise RunInterruptedError(number)


_outer: StopRequest | None = None  # of the enclosing block, when a sweep trains single runs


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first stop signal within the block into a stop request; a SIGINT after it stops at once.

    Raises:
        RunInterruptedError: a signal has stopped the block at once.
    """
    global _outer
    request, outer = StopRequest(), _outer

    def note(number: int, frame: FrameType | None) -> None:
        again = request.signal_number is not None
        request.request(number)
        if (request.at_once and not again) or (again and number == signal.SIGINT):
            raise KeyboardInterrupt  # libraries do not catch it, as they may catch an Exception

    # Python lets only the main thread handle signals; in another one, a caller of the Python API decides.
    numbers = NUMBERS if threading.current_thread() is threading.main_thread() else []
    before = {number: signal.signal(number, note) for number in numbers if _is_handled(number)}
    if outer is not None:  # a signal may have arrived just before this block
        request.request(outer.signal_number)
    _outer = request
    try:
        yield request
    except KeyboardInterrupt:
        raise RunInterruptedError(request.signal_number or signal.SIGINT, "interrupted") from None
    finally:
        _outer = outer
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_at_once() -> None:
    """Make stop signals end the process at once, with one line on stderr and the exit code 128 + signal.

    Called before the heavy imports. An exception would not do: raised while a library is imported, it may be
    swallowed, or leave the library half imported.
    """
    for number in NUMBERS:
        if _is_handled(number):
            signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    remove_unfinished()
    with suppress(OSError):  # for example, the terminal was closed
        os.write(2, b"mlpkit: interrupted\n")
    os._exit(128 + number)


def _is_handled(number: int) -> bool:
    """Whether the signal is not ignored, as it is under nohup or after `&` in a script."""
    return signal.getsignal(number) is not signal.SIG_IGN
