"""Imports matplotlib without the user's settings, and deletes its temporary folder."""

import atexit
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def matplotlib_import() -> Iterator[None]:
    """Import matplotlib inside this block; `mlpkit.plots.drawing.drawing` does.

    MPLBACKEND is ignored: Jupyter sets it for all processes, to a backend that may not exist here, and
    mlpkit draws with Agg. If the home folder is not writable, matplotlib creates a temporary folder, and
    would delete it in an atexit handler. mlpkit ends with os._exit, so the folder is deleted here; after the
    import matplotlib does not need it.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # hide its warning about the temporary folder
    backend, folder = os.environ.pop("MPLBACKEND", None), os.environ.get("MPLCONFIGDIR")
    try:
        yield
    finally:
        made = os.environ.get("MPLCONFIGDIR")  # matplotlib sets it to its temporary folder
        if made is not None and made != folder:
            shutil.rmtree(made, ignore_errors=True)
            atexit.unregister(shutil.rmtree)
            del os.environ["MPLCONFIGDIR"]
        for name, value in (("MPLBACKEND", backend), ("MPLCONFIGDIR", folder)):
            if value is not None:
                os.environ[name] = value
