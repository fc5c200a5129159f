"""What the server counts, in the text format of Prometheus."""

import os
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from mlpkit.data.encode import ColumnIssues

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)  # seconds

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counts of requests, rows and values, and how long predictions took."""

    def __init__(self) -> None:
        """Begin at zero."""
        self._requests: Counter[Labels] = Counter()
        self._issues: dict[str, Counter[Labels]] = {"missing": Counter(), "unseen": Counter()}
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0
        self._rows = 0

    def add_request(self, path: str, status: int) -> None:
        """Count an answer."""
        self._requests[("path", path), ("status", str(status))] += 1

    def add_prediction(self, rows: int, issues: Iterable[ColumnIssues], seconds: float) -> None:
        """Count the rows of a request that has been predicted, and its time."""
        self._rows += rows
        self._seconds += seconds
        self._buckets[bisect_left(BUCKETS, seconds)] += 1
        for found in issues:
            for kind, number in (("missing", found.missing), ("unseen", found.unseen)):
                if number:
                    self._issues[kind][("column", found.column),] += number

    def text(self, now: Mapping[str, float]) -> str:
        """Return all figures.

        Args:
            now: what others count: those whose names end in _total only grow.
        """
        lines = _family("mlpkit_requests_total", "counter", "Answers by path and status.", self._requests)
        rows: dict[Labels, float] = {(): self._rows}
        lines += _family("mlpkit_rows_total", "counter", "Rows that were predicted.", rows)
        for kind, counts in self._issues.items():
            about = f"Values that were {'missing' if kind == 'missing' else 'not seen in training'}."
            lines += _family(f"mlpkit_{kind}_values_total", "counter", about, counts)
        lines += self._histogram()
        for name, value in now.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += _family(name, kind, name.removeprefix("mlpkit_").replace("_", " "), {(): value})
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        name = "mlpkit_prediction_seconds"
        lines, total = [f"# HELP {name} From a request's body to its answer.", f"# TYPE {name} histogram"], 0
        for bound, count in zip((*BUCKETS, "+Inf"), self._buckets, strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {total}')
        return [*lines, f"{name}_sum {self._seconds:.6f}", f"{name}_count {total}"]


def _family(name: str, kind: str, about: str, values: Mapping[Labels, float]) -> list[str]:
    lines = [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
    for labels, value in values.items():
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
        lines.append(f"{name}{{{inside}}} {value}" if inside else f"{name} {value}")
    return lines


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def resident_bytes() -> int | None:
    """Return the memory that this process has now; None where the system does not say."""
    if sys.platform != "linux":
        return None
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
