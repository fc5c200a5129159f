"""What a command takes: `python measured_command.py PROGRAM ARGUMENT…` prints it as JSON.

A process of its own, since the system counts the memory of whoever starts a process as the process's.
"""

import json
import os
import sys
import time


def main(command: list[str]) -> None:
    """Run a command without its output; print its exit status, its seconds, its processor time and its KB."""
    begun, devnull = time.perf_counter(), os.open(os.devnull, os.O_WRONLY)
    quiet = [(os.POSIX_SPAWN_DUP2, devnull, stream) for stream in (1, 2)]
    child = os.posix_spawn(command[0], command, os.environ, file_actions=quiet)
    _, status, used = os.wait4(child, 0)
    seconds = time.perf_counter() - begun
    print(json.dumps([status, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss]))


if __name__ == "__main__":
    main(sys.argv[1:])
