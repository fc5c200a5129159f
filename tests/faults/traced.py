"""Runs a function in a child process that is killed at a system call, by way of Linux's ptrace."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

# Numbers of <sys/ptrace.h>.
_TRACEME, _SYSCALL, _SETOPTIONS = 0, 24, 0x4200
_TELL_SYSTEM_CALLS, _KILL_WITH_TRACER = 1, 1 << 20
_AT_SYSTEM_CALL = signal.SIGTRAP | 0x80

_REFUSED, _FAILED = 77, 99  # exit codes of a child


class NotPermittedError(Exception):
    """The system lets no process trace another."""


def killed_at(function: Callable[[], None], stop: int) -> bool:
    """Call the function in a forked child and kill it at a stop; return whether the child got that far.

    Args:
        function: what the child does; it must not fail.
        stop: 1 is the entry of the child's first system call, 2 its exit, 3 the entry of the next one.

    Raises:
        NotPermittedError: there is no tracing here.
        RuntimeError: the function failed.
    """
    if not sys.platform.startswith("linux"):
        raise NotPermittedError("ptrace is Linux's")
    child = os.fork()
    if child == 0:
        code = _FAILED
        try:
            if _ptrace(_TRACEME, 0, 0) == 0:
                os.kill(os.getpid(), signal.SIGSTOP)
                function()
                code = 0
            else:
                code = _REFUSED
        finally:
            os._exit(code)
    return _follow(child, stop)


def _follow(child: int, stop: int) -> bool:
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        raise NotPermittedError("ptrace is not permitted here")
    _ptrace(_SETOPTIONS, child, _TELL_SYSTEM_CALLS | _KILL_WITH_TRACER)
    seen, passed_on = 0, 0
    while True:
        _ptrace(_SYSCALL, child, passed_on)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            return False
        if not os.WIFSTOPPED(status):
            raise RuntimeError(f"the child ended with status {status} after {seen} stops")
        at_call = os.WSTOPSIG(status) == _AT_SYSTEM_CALL
        seen += at_call
        passed_on = 0 if at_call else os.WSTOPSIG(status)
        if seen == stop:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return True


def _ptrace(request: int, process: int, data: int) -> int:
    call = ctypes.CDLL(None, use_errno=True).ptrace
    call.restype, call.argtypes = (
        ctypes.c_long,
        (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p),
    )
    return int(call(request, process, None, data))
