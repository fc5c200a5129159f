"""The report of a run: what was trained on what, scores, curves, pictures, problems, commands."""

from collections.abc import Iterator
from pathlib import Path

from mlpkit.analysis.run_facts import RunFacts, read_run
from mlpkit.folders.listed_run import ENDED, FINISHED
from mlpkit.plots.report_charts import run_charts
from mlpkit.plots.report_html import Html, bullets, commands, joined, page, picture, tag
from mlpkit.plots.report_parts import (
    curves_part,
    data_part,
    environment_part,
    first_paragraph,
    footer,
    labels_part,
    read_png,
    run_pictures,
    scores_part,
    settings_part,
)

STATUS = {
    "failed": "The run failed",
    "interrupted": "The run was interrupted",
    "running": "The run is still training: this is what it has written so far",
    "unfinished": "The run has not ended: its process was killed",
    "pruned": "The search ended this run early, so its scores are not comparable with those of whole runs",
    "damaged": "The run's summary.json cannot be read",
}


def run_report(path: Path) -> bytes:
    """Return the report of a run folder.

    Raises:
        DataError: its config cannot be read.
    """
    facts = read_run(path)
    return page(title(facts), top(facts), parts(facts), footer(path))


def title(facts: RunFacts) -> str:
    """Return the model and the data."""
    return f"{facts.config.model.name} on {facts.config.dataset.title()}"


def top(facts: RunFacts) -> Html:
    """Return what was trained on what, why it is not finished, and the user's tags and note."""
    return joined(tag("p", first_paragraph(facts), class_="lead"), _state(facts), labels_part(facts.labels))


def parts(facts: RunFacts) -> list[tuple[str, Html]]:
    """Return the parts of the report, with their headings; some may be empty."""
    return [
        ("Scores", scores_part(facts)),
        ("What the curves say", bullets(facts.findings)),
        ("Curves", _curves(facts)),
        ("Pictures", run_pictures(facts.folder)),
        ("Data", data_part(facts)),
        ("Settings", settings_part(facts)),
        ("Warnings", bullets(facts.warnings)),
        ("Commands", commands(list(_commands(facts)))),
        ("Environment", environment_part(facts)),
    ]


def _state(facts: RunFacts) -> Html:
    """Return why the run is not a finished one; nothing for a finished run."""
    said = STATUS.get(facts.status, "")
    if facts.error.startswith("interrupted"):
        said = f"The run was {facts.error}"
    elif said:
        said += f": {facts.error}" if facts.error else "."
    return tag("p", said, class_="bad") if said else Html()


def _curves(facts: RunFacts) -> Html:
    """Return the curves; their picture is for a browser that runs no scripts."""
    charts = run_charts(facts.curves, facts.best.epoch if facts.best else None)
    shown = curves_part(charts, "The dashed line is the best epoch." if facts.best else "")
    if (drawn := read_png(facts.folder.plots / "curves.png")) is None:
        return shown
    return joined(shown, tag("noscript", picture(drawn, "Loss, score and learning rate by epoch.")))


def _commands(facts: RunFacts) -> Iterator[tuple[str, str]]:
    path, folder = str(facts.folder.path), facts.folder
    for line in facts.commands:
        yield ("It was trained by" if line == facts.commands[0] else "and then by"), line
    yield (
        "Repeat it, with the same bits on the same machine",
        facts.command("train", "--config", str(folder.config_file)),
    )
    if facts.status not in ENDED or facts.status == "interrupted":
        yield "Go on where it stopped", facts.command("resume", path)
    elif facts.status in FINISHED and facts.last is not None:
        more = f"trainer.epochs={2 * facts.last.epoch or 'N'}"
        yield "Train it further" if facts.last.epoch else "Train it", facts.command("resume", path, more)
    if facts.best is None:
        return
    yield "Score it again, with intervals and baselines", facts.command("evaluate", path)
    source = "--input", "NEW.png" if facts.schema and facts.schema.is_image else "NEW.csv"
    yield "Predict other rows", facts.command("predict", path, *source, "--output", "predictions.csv")
    yield "Use it without mlpkit", facts.command("export", path, "--format", "python")
    yield "Draw the pictures again", facts.command("plot", path)
