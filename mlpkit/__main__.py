"""The entry point of `mlpkit` and `python -m mlpkit`."""

import gc
import os
import sys

from mlpkit.system.startup import protect_streams, remove_working_directory_from_path


def main() -> None:
    """Run the command line and exit with its code. Signal handlers are set before heavy imports."""
    remove_working_directory_from_path()
    protect_streams()
    from mlpkit.system import free_cores
    from mlpkit.system.atomic_write import remove_unfinished
    from mlpkit.system.wait_policy import bound_spin
    from mlpkit.training.stop import leave_at_once

    leave_at_once()
    bound_spin()
    free_cores.begin()
    # Objects made by imports stay alive: searching them for garbage takes a tenth of a short command's time.
    gc.set_threshold(100_000)
    from mlpkit.cli.main import main as command_line

    code = command_line()
    remove_unfinished()
    sys.stdout.flush()
    sys.stderr.flush()
    # All files are closed. A normal exit would take one or two seconds more, to unload torch.
    os._exit(code)


if __name__ == "__main__":
    main()
