"""Prepares drawing, and turns its errors into warnings: a plot that fails must not fail the command."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mlpkit.errors import MlpkitError
from mlpkit.plots.matplotlib_import import matplotlib_import


@contextmanager
def one_warning(what: str, warn: Callable[[str], None]) -> Iterator[None]:
    """Turn an exception in the block into one warning.

    mlpkit's own errors, such as a full disk, and KeyboardInterrupt are raised as usual.

    Args:
        what: name of what is drawn in the block.
        warn: called with the warning.
    """
    try:
        yield
    except MlpkitError:
        raise
    except Exception as error:  # matplotlib and its fonts raise many types
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        warn(f"warning: {what} cannot be drawn ({reason[:200]})")


@contextmanager
def drawing(what: str, warn: Callable[[str], None]) -> Iterator[None]:
    """Import the modules that draw, and draw, inside this block; an exception becomes one warning.

    Args:
        what: name of what is drawn in the block.
        warn: called with the warning.
    """
    with one_warning(what, warn), matplotlib_import():
        yield
