"""Trains a job in a process of its own below a worker of another library, and ends it when that asks for it.

A crash of the job leaves the worker alive; and the job, which has a main thread of its own, can save its runs
when it is told to stop, or when the worker is killed.
"""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import IO

from mlpkit.config.launcher import JobResult, LostJob
from mlpkit.config.plugins import Parcel

POLL_SECONDS = 0.2  # between two checks whether the job is still wanted


def train_in_process(parcel: Parcel, threads: int, is_wanted: Callable[[], bool]) -> JobResult | LostJob:
    """Train a job in a new process; return how it has ended.

    Args:
        parcel: the job.
        threads: number of threads that torch may use.
        is_wanted: asked now and then; once it returns False, the job saves its runs and ends.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "mlpkit.sweeps.job_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C in a terminal reaches the sweep, which asks the jobs to stop
    )
    assert process.stdin is not None and process.stdout is not None
    answers: list[bytes] = []
    reader = Thread(target=_read, args=(process.stdout, answers), daemon=True)
    reader.start()
    try:
        pickle.dump((parcel, threads), process.stdin)
        process.stdin.flush()  # and it stays open: it ends with this process
        told = False
        while reader.is_alive():
            reader.join(POLL_SECONDS)
            if not told and not is_wanted():
                process.terminate()
                told = True
    except BrokenPipeError:
        pass  # it has ended already, which its exit code tells
    except BaseException:  # such as a KeyboardInterrupt, by which a library cancels a task
        process.terminate()
        raise
    finally:
        code = process.wait()
        reader.join()
        process.stdout.close()
        with suppress(BrokenPipeError):
            process.stdin.close()
    if code == 0 and answers and answers[0]:
        ended = pickle.loads(answers[0])
        assert isinstance(ended, JobResult)
        return ended
    from mlpkit.sweeps.exit_code import describe_exit

    return LostJob(describe_exit(code))


def _read(stream: IO[bytes], answers: list[bytes]) -> None:
    answers.append(stream.read())


# ----------------------------------------------------------------------------------- in the job's process


def main() -> None:
    """Read a job from stdin, train it, and write its result to stdout."""
    from mlpkit.system.wait_policy import bound_spin
    from mlpkit.training.stop import leave_at_once

    leave_at_once()
    bound_spin()
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a plug-in prints
    parcel, threads = pickle.load(sys.stdin.buffer)
    Thread(target=_stop_with_worker, daemon=True).start()
    from mlpkit.sweeps.packed_job import train_job
    from mlpkit.system.device import limit_threads

    limit_threads(threads)
    pickle.dump(train_job(parcel), results)
    results.flush()
    sys.stderr.flush()
    os._exit(0)


def _stop_with_worker() -> None:
    """Save and stop the runs when the worker has ended, with which the pipe is closed."""
    sys.stdin.buffer.read()
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    main()
