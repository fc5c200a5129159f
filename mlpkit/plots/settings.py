"""Labels, legends and score axes of the plots of a comparison."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from mlpkit.analysis.compare import Comparison, Setting
from mlpkit.analysis.leaderboard import show_setting
from mlpkit.config.nested import shorten
from mlpkit.plots import style
from mlpkit.plots.log_axis import needs_log
from mlpkit.plots.score_words import score_words

MOST_NAMED = 2  # with more keys, the legend's title names them instead of each label

Array = NDArray[np.float64]


def score_name(split: str, score: str) -> str:
    """Return a score's name for an axis."""
    return f"{split} {score_words(score)}"


def say_runs(comparison: Comparison, about: str) -> str:
    """Return a subtitle: the number of runs, followed by the text `about`."""
    runs = sum(len(setting.runs) for setting in comparison.settings)
    missing = f"{len(comparison.unscored)} without a score" if comparison.unscored else ""
    return joined(f"{runs:,} {'run' if runs == 1 else 'runs'}", missing, about)


def joined(*parts: str) -> str:
    """Return the parts of a subtitle that are not empty, joined by dots."""
    return "  ·  ".join(part for part in parts if part)


def label(comparison: Comparison, setting: Setting, keys: Sequence[str]) -> str:
    """Return the legend's label of a setting: its values of the keys, with the keys if they are few."""
    values = [show_setting(setting, key) or "–" for key in keys]
    if len(keys) > MOST_NAMED:
        return style.shorten(" · ".join(values), 60)
    named = [f"{shorten(key, comparison.columns)} {value}" for key, value in zip(keys, values, strict=True)]
    return style.shorten(", ".join(named), 60)


def legend(
    axes: Axes, colours: Mapping[str, str], comparison: Comparison, keys: Sequence[str], width: float
) -> None:
    """Put a legend above the axes, `width` inches wide; its title names the keys if they are many."""
    handles = [Line2D([], [], color=colours[text], linewidth=1.8, label=text) for text in colours if text]
    widest = 0.6 + 0.068 * max(map(len, colours), default=1)
    style.legend_above(axes, max(1, min(len(handles), int((width - 0.9) / widest))), handles)
    shown = axes.get_legend()
    if shown is not None and len(keys) > MOST_NAMED:
        shown.set_title(style.shorten(" · ".join(shorten(key, comparison.columns) for key in keys), 90))
        shown.get_title().set(fontsize=8.5, color=style.MUTED)
        shown.set_alignment("left")


def scale_score(axes: Axes, values: Sequence[Array]) -> bool:
    """Scale the y axis for the scores; return whether it is logarithmic, as for a wide range of scores."""
    logarithmic = needs_log(values)
    if logarithmic:
        style.log_scale(axes)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 2.5, 5, 10]))
        style.plain_ticks(axes.yaxis)
    return logarithmic
