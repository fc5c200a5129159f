"""Curves drawn in a terminal: with braille dots where it has colours, else with a letter for each curve."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.text import Text

from mlpkit.system.console import number

_BRAILLE = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # rows of a cell
_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDE = 30.0  # times the smallest value: from here on the axis is logarithmic


@dataclass(frozen=True)
class Line:
    """A curve to draw: its name, its colour, and its points."""

    name: str
    colour: str
    xs: Sequence[float]
    ys: Sequence[float]


def draw_lines(
    title: str, lines: Sequence[Line], width: int, height: int, braille: bool, names: bool = True
) -> list[Text]:
    """Return a plot as lines of text, of at most `width` characters and exactly `height` lines.

    Args:
        title: is written above, followed by the names of the curves.
        lines: the curves; later ones are drawn over earlier ones.
        width: in characters.
        height: in lines, at least 4: the title, the curves, and the ends of the x axis.
        braille: draw dots in colours; else the first letter of a curve's name.
        names: write the names of the curves after the title.
    """
    heading = Text(title, style="bold")
    for line in lines if names else ():
        key = f"  ━ {line.name}" if braille else f"  {line.name[:1]} {line.name}"
        heading.append(key, style=line.colour)
    points = [(x, y) for line in lines for x, y in zip(line.xs, line.ys, strict=True) if math.isfinite(y)]
    rows = max(1, height - 2)
    if not points:
        return [heading, *(Text("") for _ in range(rows)), Text("nothing yet", style="dim")]
    (left, right), (low, high) = ((min(each), max(each)) for each in zip(*points, strict=True))
    logarithmic = low > 0 and high > _WIDE * low
    if logarithmic:
        heading.append("  (log)", style="dim")
    scale = math.log10 if logarithmic else float
    bottom, top = scale(low), scale(high)
    labels = [number(high), number(low)]
    margin = max(map(len, labels)) + 1
    columns = max(1, width - margin)
    across, down = (2, 4) if braille else (1, 1)
    canvas = _Canvas(columns, rows, braille)
    for line in lines:
        before: tuple[int, int] | None = None
        for x, y in zip(line.xs, line.ys, strict=True):
            if not math.isfinite(y):
                before = None
                continue
            place = (
                round(_share(x, left, right) * (columns * across - 1)),
                round((1 - _share(scale(y), bottom, top)) * (rows * down - 1)),
            )
            if place != before:
                canvas.connect(before or place, place, line)
            before = place
    shown = canvas.rows()
    ends_of_y = {0: labels[0], rows - 1: labels[1]} if high > low else {(rows - 1) // 2: labels[0]}
    for index, row in enumerate(shown):
        label = ends_of_y.get(index, "")
        shown[index] = Text().append(f"{label:>{margin - 1}} ", "dim").append_text(row)
    ends = f"{left:.0f}", f"epoch {right:.0f}"
    gap = " " * max(1, columns - len(ends[0]) - len(ends[1]))
    return [heading, *shown, Text(" " * margin + ends[0] + gap + ends[1], style="dim")]


def sparkline(values: Sequence[float], width: int, ascii_only: bool) -> str:
    """Return values as a row of bars, the highest of each stretch; on a log scale if they range widely."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite or ascii_only:
        return ""
    size = math.ceil(len(finite) / width)
    shown = [max(finite[start : start + size]) for start in range(0, len(finite), size)]
    if min(shown) > 0 and max(shown) > _WIDE * min(shown):
        shown = list(map(math.log10, shown))
    low, high = min(shown), max(shown)
    return "".join(_BLOCKS[round(_share(value, low, high) * (len(_BLOCKS) - 1))] for value in shown)


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


class _Canvas:
    def __init__(self, columns: int, rows: int, braille: bool) -> None:
        self._dots = [[0] * columns for _ in range(rows)]
        self._owners: list[list[Line | None]] = [[None] * columns for _ in range(rows)]
        self._braille = braille

    def connect(self, start: tuple[int, int], end: tuple[int, int], line: Line) -> None:
        """Draw the dots between two places, (across, down)."""
        steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
        for step in range(steps + 1):
            across = start[0] + round((end[0] - start[0]) * step / steps)
            down = start[1] + round((end[1] - start[1]) * step / steps)
            row, column = (down // 4, across // 2) if self._braille else (down, across)
            self._dots[row][column] |= _DOTS[down % 4][across % 2] if self._braille else 1
            self._owners[row][column] = line

    def _sign(self, owner: Line | None, dots: int) -> str:
        if owner is None:
            return " "
        return chr(_BRAILLE + dots) if self._braille else owner.name[:1]

    def rows(self) -> list[Text]:
        """Return the lines of the canvas."""
        found = []
        for dots, owners in zip(self._dots, self._owners, strict=True):
            text = Text()
            for colour, cells in groupby(
                zip(owners, dots, strict=True), lambda cell: cell[0] and cell[0].colour
            ):
                text.append("".join(self._sign(*cell) for cell in cells), colour)
            found.append(text)
        return found
