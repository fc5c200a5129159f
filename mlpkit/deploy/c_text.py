"""Values as C text."""

from collections.abc import Iterable

import numpy as np

from mlpkit.deploy.portable import Array


def number_array(title: str, array: Array, kind: str, form: str) -> str:
    """Return an array of a network's numbers, each in a printf form."""
    numbers = ", ".join(form % number for number in np.ravel(array).tolist())
    return f"static const {kind} {title}[] = {{{numbers}}};"


def double_array(title: str, numbers: Iterable[float]) -> str:
    """Return an array of doubles."""
    return f"static const double {title}[] = {{{', '.join(map(repr, numbers))}}};"


def text_array(title: str, texts: Iterable[str]) -> str:
    """Return an array of strings."""
    return f"static const char *const {title}[] = {{{', '.join(map(as_string, texts))}}};"


def as_string(text: str) -> str:
    """Return a C string: UTF-8, everything unusual in octal, so that no trigraph or escape appears."""
    plain = (
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
        for byte in text.encode()
    )
    return f'"{"".join(plain)}"'


def as_comment(text: str) -> str:
    """Return text that cannot end a comment: ASCII, other letters by their number, as in Troms<U+00F8>."""
    plain = "".join(
        f"<U+{ord(c):04X}>" if ord(c) > 126 else c if c >= " " and c not in "\\?" else "." for c in text
    )
    return plain.replace("*/", "* /").replace("/*", "/ *")
