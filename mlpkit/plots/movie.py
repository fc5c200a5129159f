"""Draws the frames of a film with matplotlib, for a GIF or an MP4."""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from mlpkit.plots import style
from mlpkit.plots.film_scene import Scene
from mlpkit.plots.film_view import View
from mlpkit.plots.film_words import FilmWords
from mlpkit.plots.log_axis import needs_log
from mlpkit.plots.movie_format import as_gif, as_mp4
from mlpkit.plots.palette import MANY_CLASSES, PROBABILITY, SPLIT_COLOURS, TWO_CLASSES, VALUES

Show = Callable[[int], None]  # takes a frame or an epoch

_DOTS = 80  # per inch: a GIF is seen on screens
_SECONDS = 8.0  # of a long film
_PROBABILITY = LinearSegmentedColormap.from_list("probability", PROBABILITY)
_VALUES = LinearSegmentedColormap.from_list("values", VALUES)


def draw_movie(scenes: Sequence[Scene], words: FilmWords, ending: str) -> bytes:
    """Return the film as a movie.

    Args:
        scenes: the runs, side by side.
        words: title, caption and legend.
        ending: .gif or .mp4.
    """
    epochs = sorted({epoch for scene in scenes for epoch in scene.epochs})
    milliseconds = int(min(max(1000 * _SECONDS / len(epochs), 60), 400))
    with style.applied():
        figure, shows = _figure(scenes, words)
        clock = figure.text(0.985, 0.985, "", ha="right", va="top", size=11, weight="bold")
        canvas, pictures = FigureCanvasAgg(figure), []
        for epoch in epochs:
            clock.set_text("untrained" if epoch == 0 else f"epoch {epoch:,}")
            for scene, (show_frame, move_mark) in zip(scenes, shows, strict=True):
                show_frame(max(bisect_right(scene.epochs, epoch) - 1, 0))
                move_mark(min(epoch, scene.epochs[-1]))
            canvas.draw()  # type: ignore[no-untyped-call]
            figure.set_layout_engine("none")  # placed once: nothing moves from picture to picture
            picture = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
            pictures.append(picture[..., :3].copy())
    return (as_gif if ending == ".gif" else as_mp4)(pictures, milliseconds)


def _figure(scenes: Sequence[Scene], words: FilmWords) -> tuple[Figure, list[tuple[Show, Show]]]:
    """Return the figure, and for each scene the functions that show a frame and mark an epoch."""
    columns = math.ceil(math.sqrt(len(scenes)))
    rows = -(-len(scenes) // columns)
    single = len(scenes) == 1
    width, height = (9.6, 4.9) if single else (max(2.6 * columns, 6.0), 3.3 * rows + 0.6)
    figure = style.headed_figure(width, height, words.title, words.caption)
    figure.set_dpi(_DOTS)
    grid = (
        figure.add_gridspec(1, 2, width_ratios=(3, 2))
        if single
        else figure.add_gridspec(2 * rows, columns, height_ratios=(2.6, 1) * rows)
    )
    losses = [values for scene in scenes for _, values in scene.curves.values()]
    logarithmic = needs_log([np.array(values, dtype=np.float64) for values in losses])
    shows = []
    for place, scene in enumerate(scenes):
        row, column = divmod(place, columns)
        above = figure.add_subplot(grid[0, 0] if single else grid[2 * row, column])
        below = figure.add_subplot(grid[0, 1] if single else grid[2 * row + 1, column])
        above.set_title(style.shorten(scene.label, 40), size=9, loc="left")
        show_plane = _draw_plane(above, scene, small=not single)
        show_loss = _draw_loss(below, scene, words.loss, logarithmic, small=not single)
        shows.append((show_plane, show_loss))
    return figure, shows


def _draw_plane(axes: Axes, scene: Scene, small: bool) -> Show:
    """Draw what does not move, and return the function that shows a frame."""
    view = scene.view
    left, right, bottom, top = view.extent
    axes.grid(False)
    size = scene.surface.shape[-1]
    x, y = np.linspace(left, right, size), np.linspace(bottom, top, size)
    image = curve = None
    if view.kind == "fit":
        (curve,) = axes.plot(x, scene.surface[0], color=style.INK, linewidth=2, zorder=4)
    else:
        half = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2
        extent = (left - half[0], right + half[0], bottom - half[1], top + half[1])
        image = axes.imshow(_colours(scene, 0), origin="lower", extent=extent, interpolation="bilinear")
    _draw_points(axes, scene, small)
    on_a_map = "white" if view.kind == "values" else style.MUTED
    units = LineCollection([], colors=on_a_map, linewidths=0.8, linestyles="--", alpha=0.7)
    axes.add_collection(units, autolim=False)
    axes.set(aspect="auto", xlim=(left, right), ylim=(bottom, top))
    style.label_axes(axes, *(style.shorten(name, 30) for name in view.names))
    if small:
        axes.locator_params(nbins=4)
        axes.tick_params(labelsize=7)
    else:
        _name_points(axes, view)
    lines: list[Any] = []

    def show(frame: int) -> None:
        units.set_segments(_segments(scene, frame))
        if curve is not None:
            curve.set_ydata(scene.surface[frame])
            return
        assert image is not None
        image.set_data(_colours(scene, frame))
        while lines:
            lines.pop().remove()
        surface = scene.surface[frame].astype(np.float64)
        if view.kind == "probability" and surface.min() < 127.5 < surface.max():
            lines.append(axes.contour(x, y, surface, levels=(127.5,), colors=style.INK, linewidths=1.4))

    return show


def _draw_points(axes: Axes, scene: Scene, small: bool) -> None:
    view = scene.view
    for split, rows in view.points.items():
        marker, edge = ("o", "white") if split == "train" else ("s", style.INK)
        if view.kind == "fit":
            colours: Any = SPLIT_COLOURS[split]
        elif view.kind == "values":
            low, high = view.range
            colours = _VALUES((rows[:, 2] - low) / (high - low or 1.0))
        else:
            palette = TWO_CLASSES if len(view.classes) == 2 else MANY_CLASSES
            colours = [palette[int(label) % len(palette)] for label in rows[:, 2]]
        area = style.point_size(len(rows), 3.0 if small else 4.6) ** 2
        how: dict[str, Any] = {"edgecolors": edge, "linewidths": 0.4, "zorder": 3}
        axes.scatter(rows[:, 0], rows[:, 1], s=area, c=colours, marker=marker, **how)


def _name_points(axes: Axes, view: View) -> None:
    """Name the classes, or the splits of a fit, above the axes."""
    palette: Sequence[str] = TWO_CLASSES if len(view.classes) == 2 else MANY_CLASSES
    colours = {name: palette[label % len(palette)] for label, name in enumerate(view.classes[:10])}
    if view.kind == "fit":
        colours = {split: SPLIT_COLOURS[split] for split in view.points}
    handles = [
        Line2D([], [], linestyle="", marker="s", color=colour, label=style.shorten(name))
        for name, colour in colours.items()
    ]
    style.legend_above(axes, len(handles), handles)


def _colours(scene: Scene, frame: int) -> NDArray[Any]:
    """Return the surface as colours (size, size, 3 or 4)."""
    surface = scene.surface[frame]
    if scene.view.kind == "probability":
        return np.asarray(_PROBABILITY(surface / 255))
    if scene.view.kind == "values":
        return np.asarray(_VALUES(surface / 255))
    palette = np.array([to_rgb(colour) for colour in MANY_CLASSES])
    sure = ((surface & 15) + 1)[..., None] / 16
    return np.asarray(1 - (1 - palette[(surface >> 4) % len(palette)]) * 0.6 * sure)


def _segments(scene: Scene, frame: int) -> list[Any]:
    """Return the ends of the line of each unit."""
    left, right, bottom, top = scene.view.extent
    u, v, w = scene.units[frame].astype(np.float64).T
    square = u * u + v * v
    drawn = square > 1e-20
    u, v, w, square = u[drawn], v[drawn], w[drawn], square[drawn]
    near = np.stack((-w * u, -w * v)) / square
    along = np.stack((-v, u)) * 4 / np.sqrt(square)
    ends = np.stack((near - along, near + along), axis=1).T  # (units, 2 ends, 2)
    return list(np.array((left, bottom)) + ends * np.array((right - left, top - bottom)))


def _draw_loss(axes: Axes, scene: Scene, name: str, logarithmic: bool, small: bool) -> Show:
    """Draw the loss curves, and return the function that moves the mark."""
    for split, (epochs, values) in scene.curves.items():
        shown = np.array(values, dtype=np.float64)
        axes.plot(epochs, shown, color=SPLIT_COLOURS[split], linewidth=1.4, label=split)
    if logarithmic:
        style.log_scale(axes)
    if scene.best:
        axes.axvline(scene.best, color=style.FAINT, linewidth=1.4, zorder=1)
    mark = axes.axvline(0, color=style.INK, linewidth=1.0)
    axes.set_xlim(0, max(scene.epochs[-1], 1))
    if small:
        axes.set_xlabel("epoch", size=7)
        axes.locator_params(axis="x", nbins=4)
        axes.tick_params(labelsize=7)
    else:
        axes.set(xlabel="epoch", ylabel=name)
        style.legend_above(axes, columns=2)

    def show(epoch: int) -> None:
        mark.set_xdata([epoch, epoch])

    return show
