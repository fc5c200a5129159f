"""The property of all fuzz tests: what is given is taken, or refused in lines that a user can read."""

import warnings
from collections.abc import Callable
from typing import TypeVar

from mlpkit.errors import MlpkitError

LONGEST = 1000  # characters of a line

Result = TypeVar("Result")


def taken(kind: type[MlpkitError], function: Callable[[], Result]) -> Result | None:
    """Return what the function returns, or None where it refuses as it should; nothing may warn."""
    result = None
    with warnings.catch_warnings(record=True) as said:
        # Raised as errors, warnings could be taken for what a file is refused for.
        warnings.simplefilter("always")
        try:
            result = function()
        except MlpkitError as error:
            assert type(error) is kind, repr(error)
            assert error.args
            for line in error.args:
                assert isinstance(line, str) and line.strip() and line.isprintable(), ascii(line)
                assert len(line) <= LONGEST, f"{len(line)} characters: {line[:LONGEST]}"
    assert not said, [str(warning.message) for warning in said]
    return result
