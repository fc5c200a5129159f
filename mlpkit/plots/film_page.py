"""A film as one HTML page with a slider, which needs no network and no other file."""

import base64
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpkit.plots.film_scene import Scene
from mlpkit.plots.film_view import View
from mlpkit.plots.film_words import FilmWords
from mlpkit.plots.log_axis import needs_log
from mlpkit.plots.palette import MANY_CLASSES, TWO_CLASSES, VALUES
from mlpkit.system.web_page import source_hash, style_sheet

_HERE = Path(__file__).parent
STYLE = style_sheet(_HERE / "film.css")
SCRIPT = (_HERE / "film.js").read_text(encoding="utf-8")


def film_page(scenes: Sequence[Scene], words: FilmWords) -> str:
    """Return the page.

    Args:
        scenes: the runs, side by side.
        words: title, caption and legend.
    """
    views: list[View] = []
    for scene in scenes:
        if not any(scene.view is view for view in views):
            views.append(scene.view)
    losses = [
        np.array([v for v in values if v is not None]) for s in scenes for _, values in s.curves.values()
    ]
    together = np.concatenate([*losses, np.zeros(0)])
    together = together[np.isfinite(together)]
    logarithmic = needs_log([together])
    content = {
        "views": [_view(view) for view in views],
        "scenes": [
            _scene(scene, next(i for i, v in enumerate(views) if v is scene.view)) for scene in scenes
        ],
        "loss": words.loss,
        "says": words.title,
        "log": logarithmic,
        "range": [float(together.min()), float(together.max())] if together.size else [0.0, 1.0],
        "classes": MANY_CLASSES,
        "two": TWO_CLASSES,
        "values": VALUES,
    }
    # The contents are data: "</" would end the script, and a page may show a foreign run.
    data = (
        json.dumps(content, allow_nan=False, separators=(",", ":"))
        .replace("</", "<\\/")
        .replace("<!", "<\\u0021")
    )
    policy = (
        f"default-src 'none'; script-src {source_hash(SCRIPT)}; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(words.title)}</title>",
            f"<style>{STYLE}</style>",
            f"<h1>{escape(words.title)}</h1>",
            f"<p>{escape(words.caption)}</p>",
            '<div class="controls"><button>Play</button>',
            '<input type="range" min="0" aria-label="frame"><output></output></div>',
            f'<div class="legend">{"".join(_key(*key) for key in words.legend)}</div>',
            f"<main{' class=single' if len(scenes) == 1 else ''}></main>",
            "<footer>Space plays and pauses; the arrow keys step. Made by mlpkit film.</footer>",
            f'<script type="application/json" id="film">{data}</script>',
            f"<script>{SCRIPT}</script>",
            "</html>",
            "",
        ]
    )


def _key(kind: str, colour: str, text: str) -> str:
    place = "border-color" if kind in ("rule", "dashed") else "background"
    return f'<span><i class="{kind}" style="{place}:{colour}"></i>{escape(text)}</span>'


def _view(view: View) -> dict[str, Any]:
    few = {split: np.round(rows, 5).tolist() for split, rows in view.points.items()}
    if view.classes:
        few = {split: [[x, y, int(label)] for x, y, label in rows] for split, rows in few.items()}
    return {
        "kind": view.kind,
        "names": view.names,
        "extent": view.extent,
        "classes": view.classes,
        "points": few,
        "range": view.range,
    }


def _scene(scene: Scene, view: int) -> dict[str, Any]:
    surface = scene.surface if scene.surface.dtype == np.uint8 else scene.surface.astype("<f4")
    return {
        "label": scene.label,
        "view": view,
        "epochs": scene.epochs,
        "size": scene.surface.shape[-1],
        "surface": _text(surface),
        "units": _text(scene.units.astype("<f4")),
        "shown": scene.units.shape[1],
        "curves": scene.curves,
        "best": scene.best,
    }


def _text(values: NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode()
