"""First steps of the process: no imports from the working directory, and output streams that never fail.

This file imports only modules that Python has already loaded: while the working directory is on sys.path, any
other import might run a file from it.
"""

import codecs
import io
import os
import sys

ASCII = {"→": "->", "×": "x", "≥": ">=", "≤": "<=", "±": "+/-", "−": "-", "–": "-", "…": "...", "·": "*"}


def remove_working_directory_from_path() -> None:
    """Remove the working directory from sys.path, here and in Python processes started from here.

    `python -m` and `python -c` put it first. It stays if it contains the mlpkit package.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
    if sys.flags.safe_path:
        return
    first, package = sys.path.pop(0), os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120
    own = os.path.dirname(package)  # noqa: PTH120
    if first in ("", own) and own not in sys.path:
        sys.path.insert(0, own)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (own, os.environ.get("PYTHONPATH"))))


def protect_streams() -> None:
    """Open closed standard streams, and replace stdout and stderr by streams that never raise an error.

    A closed stream is opened on the null device: otherwise the next file of the run would get its number, and
    receive its output. Output that cannot be written is dropped, so that training does not end because a
    pipe's reader or a terminal is gone, or a disk is full. Characters missing in the encoding become ASCII.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    codecs.register_error("mlpkit_ascii", _to_ascii)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = _protected(1, sys.stdout), _protected(2, sys.stderr)


def write_error(stream: object) -> OSError | None:
    """Return the error for which a stream of `protect_streams` dropped output; None if it dropped none."""
    return getattr(getattr(getattr(stream, "buffer", None), "raw", None), "error", None)


class _ProtectedFile(io.FileIO):
    """A file that drops what it cannot write, and keeps the error."""

    error: OSError | None = None

    def write(self, content: bytes) -> int:  # type: ignore[override]
        try:
            while (written := super().write(content)) is None:  # a full, non-blocking pipe: wait for room
                from select import select

                select([], [self], [])
        except OSError as error:
            self.error, written = error, len(content)
        return written


def _protected(number: int, old: object) -> io.TextIOWrapper:
    encoding = getattr(old, "encoding", "utf-8")
    by_lines = getattr(old, "line_buffering", True) or getattr(old, "write_through", False)
    buffer = io.BufferedWriter(_ProtectedFile(number, "w", closefd=False))  # type: ignore[type-var]
    return io.TextIOWrapper(buffer, encoding, "mlpkit_ascii", line_buffering=by_lines)


def _to_ascii(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(ASCII.get(c) or ascii(c)[1:-1] for c in text), error.end
