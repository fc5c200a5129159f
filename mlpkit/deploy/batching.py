"""Requests that come together are computed together, in one forward pass."""

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch

from mlpkit.analysis.blocks import BLOCK
from mlpkit.analysis.predictions import Predictions
from mlpkit.data.few_rows import FewRows
from mlpkit.deploy.limits import MOST_BYTES_HELD, MOST_WAITING
from mlpkit.deploy.refusal import Refusal
from mlpkit.deploy.serve_model import Served
from mlpkit.deploy.serve_rows import Rows, encode_together
from mlpkit.errors import DataError

WINDOW = 0.002  # seconds for which the first request waits for others
MOST_ROWS = 16 * BLOCK  # of a forward pass
QUICK = 1 << 24  # multiplications that take about a millisecond


Answer = tuple[Predictions, Rows]


@dataclass(eq=False)
class _Job:
    """A request that waits.

    Attributes:
        model: which predicts.
        rows: of the request; once they are encoded, `Rows`.
        done: gets the predictions, and the encoded rows.
        taken: how many rows have been computed.
        parts: their predictions.
    """

    model: Served
    rows: Rows | FewRows
    done: asyncio.Future[Answer]
    taken: int = 0
    parts: list[Predictions] = field(default_factory=list)


class Batcher:
    """Computes the rows of waiting requests in turn, a block of each, so that none waits for a long one.

    Attributes:
        passes: how many forward passes there have been.
        rows: how many rows they had.
    """

    def __init__(self) -> None:
        """Begin without requests."""
        self._jobs: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "forward")
        self._bytes = 0
        self.passes = self.rows = 0

    @property
    def waiting(self) -> int:
        """The number of requests that wait."""
        return len(self._jobs)

    async def predict(self, model: Served, rows: Rows | FewRows) -> Answer:
        """Return the predictions of some rows, and the encoded rows.

        Raises:
            DataError: a value of a few rows cannot be used.
            Refusal: too many requests wait.
        """
        size = len(rows) * len(model.predictor.input_schema.features) * 4
        if len(self._jobs) >= MOST_WAITING or (self._bytes and self._bytes + size > MOST_BYTES_HELD):
            raise Refusal(503, f"busy: {len(self._jobs)} requests wait already; try again in a second")
        self._bytes += size
        job = _Job(model, rows, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._arrived.set()
        try:
            return await job.done
        finally:
            self._bytes -= size

    async def run(self) -> None:
        """Compute whatever arrives, until the task is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            is_full = sum(len(job.rows) for job in self._jobs) >= BLOCK
            await asyncio.sleep(0 if is_full else WINDOW)  # with 0 too, others have their turn before a pass
            if jobs := self._take():
                try:
                    if _is_quick(jobs):
                        errors = self._compute(jobs)
                    else:
                        errors = await loop.run_in_executor(self._thread, self._compute, jobs)
                except Exception as error:  # of any kind: a plug-in's own layers may have been called
                    errors = [error] * len(jobs)
                self._finish(jobs, errors)
            if not self._jobs:
                self._arrived.clear()

    def _take(self) -> list[_Job]:
        """Return the jobs of which the next pass computes a block; one model computes all of them."""
        taken: list[_Job] = []
        total = 0
        while self._jobs and total < MOST_ROWS:
            job = self._jobs.popleft()
            if job.done.done():  # cancelled: the client is gone
                continue
            if taken and job.model is not taken[0].model:
                self._jobs.appendleft(job)
                break
            total += min(BLOCK, len(job.rows) - job.taken)
            taken.append(job)
        return taken

    def _compute(self, jobs: list[_Job]) -> list[Exception | None]:
        """Compute a block of each job; return what is wrong with each."""
        model, wrong = jobs[0].model, dict[int, Exception]()
        few = [(place, job.rows) for place, job in enumerate(jobs) if isinstance(job.rows, FewRows)]
        encoded = encode_together([rows for _, rows in few], model) if few else []
        for (place, _), rows in zip(few, encoded, strict=True):
            if isinstance(rows, DataError):
                wrong[place] = rows
            else:
                jobs[place].rows = rows
        parts = [
            (job, job.rows.values[job.taken : job.taken + BLOCK])
            for job in jobs
            if isinstance(job.rows, Rows)
        ]
        if parts:
            found = model.predictor.predict(torch.cat([part for _, part in parts]))
            start = 0
            for job, part in parts:
                job.parts.append(found.rows(start, start + len(part)))
                job.taken += len(part)
                start += len(part)
            self.passes += 1
            self.rows += start
        return [wrong.get(place) for place in range(len(jobs))]

    def _finish(self, jobs: list[_Job], errors: list[Exception | None]) -> None:
        """Give the jobs that are done their answer; the others go to the end."""
        for job, error in zip(jobs, errors, strict=True):
            if job.done.done():
                continue
            if error is not None:
                job.done.set_exception(error)
            elif job.taken < len(job.rows):
                self._jobs.append(job)
            else:
                assert isinstance(job.rows, Rows)
                job.done.set_result((Predictions.joined(job.parts), job.rows))


def _is_quick(jobs: list[_Job]) -> bool:
    """Whether a pass is not worth a thread: while two wait for Python's lock, nobody is answered."""
    rows = sum(min(BLOCK, len(job.rows) - job.taken) for job in jobs)
    return -(-rows // BLOCK) * BLOCK * jobs[0].model.parameters <= QUICK
