"""The looks of a plot: on screen, or in a paper; and matplotlib's settings for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import matplotlib

from mlpkit.plots.palette import FAINT, INK, MUTED

MARGIN = 0.16  # inches around a plot
HEADING = 0.54  # height of title and subtitle in inches

_SETTINGS: dict[Any, Any] = {
    "figure.dpi": 144,
    "figure.facecolor": "white",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib
    "font.size": 9.0,
    "text.color": INK,
    "text.parse_math": False,  # a class may be named $5
    "axes.facecolor": "white",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.xmargin": 0.03,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#edeff2",
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.6,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.4,
    "legend.borderpad": 0.0,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "agg.path.chunksize": 10_000,  # Agg fails on a path with very many points
    "pdf.fonttype": 42,  # TrueType: many journals refuse Type 3
    "svg.hashsalt": "mlpkit",  # names inside the file are the same each time
}
_PAPER: dict[Any, Any] = {
    "figure.dpi": 300,
    "font.family": "serif",
    "font.serif": ["STIXGeneral", "DejaVu Serif"],  # both come with matplotlib; the second has more letters
    "font.size": 8.0,
    "text.color": "black",
    "axes.edgecolor": "black",
    "axes.labelcolor": "black",
    "axes.linewidth": 0.6,
    "axes.grid": False,
    "xtick.color": "black",
    "ytick.color": "black",
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "legend.columnspacing": 1.0,
    "lines.linewidth": 1.0,
}


@dataclass(frozen=True)
class Look:
    """How plots look.

    Attributes:
        width: of a figure in inches; None: each plot's own.
        settings: matplotlib's, besides those of all plots.
        ink: colour of the title.
        muted: colour of the subtitle.
        title_size: in points.
        title_weight: bold or normal.
        size: of the subtitle in points.
        line: inches from the title to the subtitle.
        heading: height of title and subtitle in inches.
        margin: inches around a plot.
        marks: size of points, as a share of that on screen.
    """

    width: float | None = None
    settings: dict[Any, Any] = field(default_factory=dict)
    ink: str = INK
    muted: str = MUTED
    title_size: float = 12.0
    title_weight: str = "bold"
    size: float = 9.0
    line: float = 0.25
    heading: float = HEADING
    margin: float = MARGIN
    marks: float = 1.0


SCREEN = Look()


def paper(width: float | None = None) -> Look:
    """Return the look of a paper: serif, small and black, in figures `width` inches wide."""
    return Look(width, _PAPER, "black", "black", 9.0, "normal", 7.0, 0.17, 0.36, 0.1, 0.6)


_current: ContextVar[Look] = ContextVar("look", default=SCREEN)


def current() -> Look:
    """Return the look of the innermost `applied` block."""
    return _current.get()


@contextmanager
def applied(look: Look = SCREEN) -> Iterator[None]:
    """Apply a look in the block, and restore matplotlib's settings afterwards.

    A matplotlibrc is ignored: one in the working directory may be foreign, and could start LaTeX.
    """
    token = _current.set(look)
    try:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_SETTINGS | look.settings)
            yield
    finally:
        _current.reset(token)
