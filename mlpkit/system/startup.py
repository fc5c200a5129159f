"""What a process does before anything else: no import from the working directory, and streams that hold.

Only what Python has loaded anyway is imported here: as long as the working directory is on the path,
an import may run a file that lies there.
"""

import codecs
import io
import os
import sys

ASCII = {"→": "->", "×": "x", "≥": ">=", "≤": "<=", "±": "+/-", "−": "-", "–": "-", "…": "...", "·": "*"}


def leave_the_working_directory() -> None:
    """Import nothing from the working directory, here and in every interpreter that is started from here.

    Python puts it first on the path for `python -m` and `python -c`. It stays where mlpkit itself lies in it.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
    if sys.flags.safe_path:
        return
    first, package = sys.path.pop(0), os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120
    own = os.path.dirname(package)  # noqa: PTH120
    if first in ("", own) and own not in sys.path:
        sys.path.insert(0, own)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (own, os.environ.get("PYTHONPATH"))))


def hold_streams() -> None:
    """Let stdin, stdout and stderr be open, and take all that is written.

    A closed one becomes the null device: else a file of the run would get its number, and then what is meant
    for the stream. What cannot be written is dropped: no training ends because a reader has gone, a
    terminal is closed or a disk is full. What the encoding does not have is spelled in ASCII.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    codecs.register_error("spelled", _spell)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = _held(1, sys.stdout), _held(2, sys.stderr)


def lost(stream: object) -> OSError | None:
    """Return why a stream of `hold_streams` has dropped something; None where it has not."""
    return getattr(getattr(getattr(stream, "buffer", None), "raw", None), "lost", None)


class _Held(io.FileIO):
    """A stream that drops what it cannot write, and remembers why."""

    lost: OSError | None = None

    def write(self, content: bytes) -> int:  # type: ignore[override]
        try:
            while (written := super().write(content)) is None:  # a full pipe that does not wait by itself
                from select import select

                select([], [self], [])
        except OSError as error:
            self.lost, written = error, len(content)
        return written


def _held(number: int, old: object) -> io.TextIOWrapper:
    encoding = getattr(old, "encoding", "utf-8")
    by_lines = getattr(old, "line_buffering", True) or getattr(old, "write_through", False)
    buffer = io.BufferedWriter(_Held(number, "w", closefd=False))  # type: ignore[type-var]
    return io.TextIOWrapper(buffer, encoding, "spelled", line_buffering=by_lines)


def _spell(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(ASCII.get(c) or ascii(c)[1:-1] for c in text), error.end
