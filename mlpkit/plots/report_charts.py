"""The curves of a report: thinned, described in words, and written as JSON that report.js draws."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlpkit.analysis.compare import Comparison, Setting
from mlpkit.analysis.run_table import SPLITS
from mlpkit.folders.metrics_file import OF_LAYER, is_score, read_curves
from mlpkit.plots.report_html import Html, tag
from mlpkit.plots.score_words import score_words
from mlpkit.system.console import number

MOST_POINTS = 800  # of a curve that are drawn
MOST_SETTINGS = 8  # whose curves are drawn: there is a colour for each
MOST_RUNS = 32  # of a setting whose curves are averaged
MOST_DESCRIBED = 3  # curves of a chart: the splits of a run, or the best settings
CHANGING = ("lr", "grad_norm")  # of the whole step, and logged with every split
MOST_LAYERS = MOST_SETTINGS  # whose gradient norms are drawn

Value = float | None


@dataclass(frozen=True)
class Curve:
    """A line of a chart.

    Attributes:
        name: in the legend.
        kind: its colour: a split, or c0 to c7.
        epochs: ascending.
        values: one for each epoch; None leaves a gap.
        band: the lowest and the highest value at each epoch, drawn as a band; None: there is none.
    """

    name: str
    kind: str
    epochs: Sequence[int]
    values: Sequence[Value]
    band: tuple[Sequence[Value], Sequence[Value]] | None = None


@dataclass(frozen=True)
class Chart:
    """Curves over the epochs.

    Attributes:
        title: what is drawn, such as a score's name.
        curves: the lines.
        best: the epoch that is marked as the best one; None: there is none.
        linear: whether the axis is linear at first, however wide the range of the values is.
    """

    title: str
    curves: Sequence[Curve]
    best: int | None = None
    linear: bool = False


def run_charts(lines: Sequence[Mapping[str, Any]], best: int | None) -> list[Chart]:
    """Return a chart for each score in the lines of metrics.jsonl; for lr and grad_norm if they change;
    and one for the gradient norms by layer.
    """
    names = list(dict.fromkeys(name for line in lines for name in line if is_score(name)))
    by_split = {split: [line for line in lines if line["split"] == split] for split in SPLITS}
    charts = [
        Chart(
            score_words(name),
            [_curve(split, split, rows, name) for split, rows in by_split.items()],
            best,
        )
        for name in names
    ]
    for name in CHANGING:
        curve = _curve(score_words(name), "c0", [line for line in by_split["train"] if name in line], name)
        if len(set(curve.values)) > 1:
            charts.append(Chart(score_words(name), [curve], best, linear=name == "lr"))
    charts.append(Chart("gradient norm by layer", _by_layer(by_split["train"]), best))
    shown = [replace(chart, curves=[of for of in chart.curves if _finite(of)]) for chart in charts]
    return [chart for chart in shown if chart.curves]


def _by_layer(rows: Sequence[Mapping[str, Any]]) -> list[Curve]:
    """Return the norm of each layer's gradient, which some epochs have with run.histograms."""
    names = dict.fromkeys(name for row in rows for name in row if name.startswith(OF_LAYER))
    return [
        _curve(name.removeprefix(OF_LAYER), f"c{place}", [row for row in rows if name in row], name)
        for place, name in enumerate(list(names)[:MOST_LAYERS])
    ]


def _curve(name: str, kind: str, rows: Sequence[Mapping[str, Any]], score: str) -> Curve:
    return Curve(name, kind, [row["epoch"] for row in rows], [row.get(score) for row in rows])


def settings_charts(
    found: Comparison, named: Callable[[Setting], str], warn: Callable[[str], None]
) -> list[Chart]:
    """Return the charts of the best settings: the score that ranks them, and the loss.

    Args:
        found: the comparison.
        named: returns a setting's name.
        warn: called with a warning for each run whose metrics cannot be read.
    """
    split = found.metric.split
    settings = [setting for setting in found.settings if setting.runs][:MOST_SETTINGS]
    if split == "test":  # test is scored only after training: show the monitored split
        split = next(run.best.split for run in settings[0].runs.values() if run.best is not None)
    by_setting = [_lines(setting, split, warn) for setting in settings]
    charts = []
    for score in dict.fromkeys((found.metric.score, "loss")):
        curves = []
        for place, (setting, runs) in enumerate(zip(settings, by_setting, strict=True)):
            drawn = [_curve("", "", rows, score) for rows in runs]
            if drawn := [curve for curve in drawn if _finite(curve)]:
                curves.append(mean_curve(named(setting), f"c{place}", drawn))
        charts.append(Chart(f"{split} {score_words(score)}", curves))
    return [chart for chart in charts if chart.curves]


def _lines(setting: Setting, split: str, warn: Callable[[str], None]) -> list[list[dict[str, Any]]]:
    """Return the lines of metrics.jsonl on a split, of each of a setting's runs."""
    runs = [run.path for run in list(setting.runs.values())[:MOST_RUNS]]
    return [[line for line in lines if line["split"] == split] for lines in read_curves(runs, warn)]


def mean_curve(name: str, kind: str, runs: Sequence[Curve]) -> Curve:
    """Return the mean of some runs' curves at the epochs that all of them have, with a band around all."""
    shared = sorted(set.intersection(*(set(run.epochs) for run in runs)))
    rows = [dict(zip(run.epochs, run.values, strict=True)) for run in runs]
    columns = [[row[epoch] for row in rows] for epoch in shared]
    known = [[v for v in column if v is not None] if None not in column else [] for column in columns]
    means = [math.fsum(values) / len(values) if values else None for values in known]
    low, high = (
        [min(values, default=None) for values in known],
        [max(values, default=None) for values in known],
    )
    return Curve(name, kind, shared, means, (low, high) if len(runs) > 1 else None)


def draw(chart: Chart) -> Html:
    """Return the chart: its data for report.js, and a caption that says the same in words."""
    curves = [thinned(curve) for curve in chart.curves]
    data = {
        "title": chart.title,
        "best": chart.best,
        "linear": chart.linear,
        "curves": [
            {
                "name": curve.name,
                "kind": curve.kind,
                "x": curve.epochs,
                "y": _rounded(curve.values),
                **({"low": _rounded(curve.band[0]), "high": _rounded(curve.band[1])} if curve.band else {}),
            }
            for curve in curves
        ],
    }
    # JSON inside a script element: neither a name nor a value may end it.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    caption = " ".join(_words(chart, list(map(len, (curve.epochs for curve in curves)))))
    return tag(
        "figure",
        tag("h3", chart.title),
        tag("script", Html(text), type="application/json"),
        tag("figcaption", caption),
        class_="chart",
    )


def thinned(curve: Curve, most: int = MOST_POINTS) -> Curve:
    """Return a curve of at most `most` points: the lowest and the highest of each stretch, and both ends."""
    total = len(curve.epochs)
    if total <= most:
        return curve
    size = math.ceil(2 * total / (most - 2))
    kept = {0, total - 1}
    for start in range(0, total, size):
        stretch = range(start, min(start + size, total))
        known = [place for place in stretch if curve.values[place] is not None]
        kept |= {min(known, key=_value_in(curve)), max(known, key=_value_in(curve))} if known else {start}
    places = sorted(kept)
    band = curve.band and ([curve.band[0][p] for p in places], [curve.band[1][p] for p in places])
    epochs, values = [curve.epochs[p] for p in places], [curve.values[p] for p in places]
    return replace(curve, epochs=epochs, values=values, band=band)


def _value_in(curve: Curve) -> Any:
    return lambda place: curve.values[place]


def _finite(curve: Curve) -> bool:
    return any(value is not None for value in curve.values)


def _rounded(values: Sequence[Value]) -> list[Value]:
    return [None if value is None else float(f"{value:.5g}") for value in values]


def _words(chart: Chart, drawn: Sequence[int]) -> Iterator[str]:
    """Yield a sentence for each curve, and how much of them is drawn."""
    for curve in chart.curves[:MOST_DESCRIBED]:
        known = [(e, v) for e, v in zip(curve.epochs, curve.values, strict=True) if v is not None]
        if not known:
            continue
        (first, start), (last, end) = known[0], known[-1]
        low, high = min(known, key=lambda pair: pair[1]), max(known, key=lambda pair: pair[1])
        name = f"{curve.name}: " if len(chart.curves) > 1 else ""
        if first == last:
            yield f"{name}{number(end)} at epoch {last:,}."
        else:
            yield (
                f"{name}{number(start)} at epoch {first:,}, {number(end)} at {last:,}; "
                f"lowest {number(low[1])} at {low[0]:,}, highest {number(high[1])} at {high[0]:,}."
            )
    if any(len(curve.epochs) > count for curve, count in zip(chart.curves, drawn, strict=True)):
        last = max(curve.epochs[-1] for curve in chart.curves)
        yield (
            f"{max(drawn):,} of {last:,} epochs are drawn: those with the lowest and the highest value of "
            "each stretch."
        )
