"""The table of `mlpkit ls`: on a terminal as many columns as fit, in a pipe and in files all of them.

Not a rich table, which takes ten seconds for 20,000 rows.
"""

import csv
import io
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from mlpkit.config.problems import plural
from mlpkit.folders.listed_run import FINISHED, ListedRun
from mlpkit.folders.listing import Listed, ListedSweep
from mlpkit.folders.output_file import write_output
from mlpkit.system.console import number, printable
from mlpkit.system.plain_json import to_json

ENDINGS = (".csv", ".jsonl")
GAP = "  "
SHORTEST_STATUS = 12  # columns, as in 1,000 runs, …; a longer one of a sweep is cut where there is no room
SHORTEST_NOTE = 12  # columns; a longer note is cut where there is no room for it

_TITLES = ("run", "changed", "status", "dataset", "model", "epochs", "score", "tags", "note")
_LABELS = ("tags", "note")
_ALIGNED_RIGHT = ("epochs",)
_FIRST_LEFT_OUT = ("changed", "model", "dataset")  # most names of folders have them


def format_list(listed: Sequence[Listed], top: Path, width: int | None) -> list[str]:
    """Return the lines of the table: a line for each run or sweep, below the names of the columns.

    Args:
        listed: the runs and sweeps to show, in this order.
        top: if there is no room for whole paths, they are shown relative to this folder.
        width: columns of the terminal; None for a pipe.
    """
    rows = [_cells(each) for each in listed]
    titles = [title for title in _TITLES if title in ("run", "status") or any(row[title] for row in rows)]
    sizes = {title: _widest(title, rows) for title in titles}
    if width is not None:
        for title in _FIRST_LEFT_OUT:
            if title in titles and _total(titles, sizes) > width:
                titles.remove(title)
        if _total(titles, sizes) > width:
            for row, each in zip(rows, listed, strict=True):
                row["run"] = _below(each.path, top)
            sizes["run"] = _widest("run", rows)
        if "epochs" in titles and _total(titles, sizes) > width:
            titles.remove("epochs")
        if (over := _total(titles, sizes) - width) > 0 and sizes["status"] - over >= SHORTEST_STATUS:
            sizes["status"] -= over
            for row in rows:
                row["status"] = _crop(row["status"], sizes["status"])
        note_size = min(sizes.get("note", 0), SHORTEST_NOTE)
        if _total(titles, sizes) + (len(GAP) + note_size if note_size else 0) > width:
            return _with_labels_below([title for title in titles if title not in _LABELS], rows, sizes, width)
        if note_size:
            for row in rows:
                row["note"] = _crop(row["note"], width - _total(titles, sizes) - len(GAP))
    return _lines(titles, rows, sizes)


def _with_labels_below(
    titles: Sequence[str], rows: Sequence[dict[str, str]], sizes: Mapping[str, int], width: int
) -> list[str]:
    """Return the lines of the table; tags and note, for which it has no room, stand below their run."""
    first, *others = _lines(titles, rows, sizes)
    lines = [first]
    for line, row in zip(others, rows, strict=True):
        lines.append(line)
        if labels := GAP.join(filter(None, (row[title] for title in _LABELS))):
            lines.append(_crop(f"{GAP}{labels}", width))
    return lines


def _lines(titles: Sequence[str], rows: Sequence[Mapping[str, str]], sizes: Mapping[str, int]) -> list[str]:
    """Return the line of the titles and those of the rows; column by column, since there may be very many."""
    columns = [
        [_fill(text, title, sizes[title]) for text in (title, *(row[title] for row in rows))]
        for title in titles
    ]
    return [GAP.join(cells).rstrip() for cells in zip(*columns, strict=True)]


def describe(listed: Sequence[Listed]) -> str:
    """Return how many runs and sweeps there are, in words."""
    alone = sum(isinstance(each, ListedRun) for each in listed)
    sweeps = [each for each in listed if isinstance(each, ListedSweep)]
    parts = [plural(alone, "run")] if alone or not sweeps else []
    if sweeps:
        parts.append(f"{plural(len(sweeps), 'sweep')} of {plural(sum(len(s.runs) for s in sweeps), 'run')}")
    return " and ".join(parts)


def write_list(path: Path, listed: Sequence[Listed]) -> None:
    """Write a row for each run or sweep, in the format of the file's suffix.

    Raises:
        WriteError: the file cannot be written.
    """
    rows = [_values(each) for each in listed]
    if path.suffix == ".jsonl":
        text = "".join(f"{to_json(row)}\n" for row in rows)
    else:
        stream = io.StringIO()
        columns = list(_values(ListedRun("", 0.0, "")))  # the header is written also without rows
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "tags": " ".join(row["tags"])} for row in rows)
        text = stream.getvalue()
    write_output(path, text.encode(errors="surrogateescape"))


def _cells(each: Listed) -> dict[str, str]:
    """Return a run's or a sweep's cells by column; empty where something is not known."""
    run = each if isinstance(each, ListedRun) else each.best
    named = run or (each.runs[0] if isinstance(each, ListedSweep) and each.runs else None)
    score = run.score if run else None
    return {
        "run": printable(each.folder),
        "changed": time.strftime("%Y-%m-%d %H:%M", time.localtime(each.changed)),
        "status": each.status if isinstance(each, ListedRun) else _status(each),
        "dataset": printable(named.dataset) if named else "",
        "model": printable(named.model) if named else "",
        "epochs": f"{run.epochs:,}" if run and run.epochs is not None else "",
        "score": _score(score.split, score.name, score.value) if score else "",
        "tags": " ".join(each.labels.tags),
        "note": printable(each.labels.note),
    }


def _score(split: str, name: str, value: float) -> str:
    """Return a score in words; only a split other than val is named."""
    return printable(f"{name if split == 'val' else f'{split} {name}'} {number(value)}")


def _status(sweep: ListedSweep) -> str:
    """Return a sweep's number of runs, and how many of them have not finished."""
    counts = Counter(run.status for run in sweep.runs if run.status not in FINISHED)
    return ", ".join([plural(len(sweep.runs), "run"), *(f"{n} {status}" for status, n in counts.items())])


def _values(each: Listed) -> dict[str, Any]:
    run = each if isinstance(each, ListedRun) else each.best
    cells = _cells(each)
    score = run.score if run else None
    return {
        "path": each.folder,
        "changed": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(each.changed)),
        "status": each.status if isinstance(each, ListedRun) else "sweep",
        "runs": 1 if isinstance(each, ListedRun) else len(each.runs),
        "dataset": cells["dataset"],
        "model": cells["model"],
        "epochs": run.epochs if run else None,
        "split": score.split if score else None,
        "score": score.name if score else None,
        "value": score.value if score else None,
        "tags": list(each.labels.tags),
        "note": each.labels.note,
    }


def _below(path: Path, top: Path) -> str:
    return printable(str(path.relative_to(top) if path.is_relative_to(top) and path != top else path))


def _total(titles: Sequence[str], sizes: Mapping[str, int]) -> int:
    """Return the width of the table without the note, which may be cut."""
    return sum(sizes[title] + len(GAP) for title in titles if title != "note") - len(GAP)


def _width(text: str) -> int:
    """Return the columns of a terminal that a text takes; most texts are ASCII."""
    return len(text) if text.isascii() else cell_len(text)


def _widest(title: str, rows: Sequence[Mapping[str, str]]) -> int:
    return max(map(_width, (title, *(row[title] for row in rows))))


def _fill(text: str, title: str, size: int) -> str:
    room = " " * (size - _width(text))
    return f"{room}{text}" if title in _ALIGNED_RIGHT else f"{text}{room}"


def _crop(text: str, size: int) -> str:
    if _width(text) <= size:
        return text
    while text and _width(text) >= size:
        text = text[:-1]
    return f"{text}…"
