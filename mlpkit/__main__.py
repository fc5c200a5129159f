"""The way in: `mlpkit`, and `python -m mlpkit`."""

import gc
import os
import sys

from mlpkit.system.startup import hold_streams, leave_the_working_directory


def main() -> None:
    """Run the command line and exit with its code; a signal is heard before anything heavy loads."""
    leave_the_working_directory()
    hold_streams()
    from mlpkit.system import free_cores
    from mlpkit.system.wait_policy import bound_spin
    from mlpkit.training.stop import leave_at_once

    leave_at_once()
    bound_spin()
    free_cores.begin()
    # What libraries make while they load stays: to look for garbage in it takes a tenth of a short command.
    gc.set_threshold(100_000)
    from mlpkit.cli.main import main as command_line

    code = command_line()
    sys.stdout.flush()
    sys.stderr.flush()
    # All files are closed. To take down what torch has loaded would need another one or two seconds.
    os._exit(code)


if __name__ == "__main__":
    main()
