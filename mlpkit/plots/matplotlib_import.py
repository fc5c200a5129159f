"""Loads matplotlib without what the user has set for it, and without traces."""

import atexit
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def alone() -> Iterator[None]:
    """Load matplotlib in the block.

    MPLBACKEND does not count: Jupyter sets it for all that is started there, to a backend that cannot be
    loaded elsewhere, and mlpkit draws with Agg. Where matplotlib cannot write into the user's home it makes
    a temporary folder, of which it needs nothing once it is loaded, and would remove it at an end of the
    process that mlpkit does not wait for.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it would tell of the temporary folder
    backend, folder = os.environ.pop("MPLBACKEND", None), os.environ.get("MPLCONFIGDIR")
    try:
        yield
    finally:
        made = os.environ.get("MPLCONFIGDIR")  # matplotlib names its temporary folder there
        if made is not None and made != folder:
            shutil.rmtree(made, ignore_errors=True)
            atexit.unregister(shutil.rmtree)
            del os.environ["MPLCONFIGDIR"]
        for name, value in (("MPLBACKEND", backend), ("MPLCONFIGDIR", folder)):
            if value is not None:
                os.environ[name] = value
