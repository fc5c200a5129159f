"""What Slurm's queue says of jobs.

submitit asks Slurm's accounting, which many clusters do not have; without it submitit would wait for ever.
"""

import subprocess
from contextlib import suppress
from pathlib import Path

QUEUE = ("squeue", "--me", "--array", "--noheader", "--Format=JobArrayID:64,STDOUT:4096")
AT_ONCE = 1000  # jobs of a command, whose length is limited
LIMIT = 60.0  # seconds that Slurm may take to answer


def queued() -> dict[str, Path] | None:
    """Return this user's jobs that wait or run, and the file that each one's output goes to.

    Returns:
        Files by job, which is named as submitit names it; None if Slurm does not answer.
    """
    try:
        done = subprocess.run(QUEUE, capture_output=True, text=True, timeout=LIMIT, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    fields = (line.partition(" ") for line in done.stdout.splitlines())
    return {job: Path(file.strip()) for job, _, file in fields}


def cancel_jobs_of(folder: Path) -> None:
    """Cancel the jobs whose output goes into a folder: those of a sweep whose process was killed.

    A job that trains saves its runs, and those who train them next wait for it.
    """
    jobs = [job for job, file in (queued() or {}).items() if file.is_relative_to(folder)]
    for first in range(0, len(jobs), AT_ONCE):
        with suppress(OSError, subprocess.SubprocessError):  # whoever trains their runs next waits
            subprocess.run(["scancel", *jobs[first : first + AT_ONCE]], capture_output=True, timeout=LIMIT)
