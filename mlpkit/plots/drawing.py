"""Pictures are extras: what goes wrong while one is drawn is a warning, and fails nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mlpkit.errors import MlpkitError


@contextmanager
def one_warning(what: str, warn: Callable[[str], None]) -> Iterator[None]:
    """Turn any error of the block into one warning.

    Errors of mlpkit's own, such as a full disk, and interruptions pass.

    Args:
        what: is drawn in the block.
        warn: is told.
    """
    try:
        yield
    except MlpkitError:
        raise
    except Exception as error:  # matplotlib, its fonts and its settings raise all kinds
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        warn(f"warning: {what} cannot be drawn ({reason[:200]})")
