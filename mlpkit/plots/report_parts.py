"""The parts that reports of runs and of sweeps have in common, as HTML."""

import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlpkit.analysis.model_facts import (
    Rows,
    column_table,
    environment_rows,
    interval_text,
    limits,
    score_table,
    with_baseline,
)
from mlpkit.analysis.run_facts import AtEpoch, RunFacts
from mlpkit.config import yaml_file
from mlpkit.config.changed import NONE, changed_settings
from mlpkit.config.config import to_dict
from mlpkit.config.problems import plural, show
from mlpkit.folders.labels import Labels, describe_labels
from mlpkit.folders.listed_run import FINISHED
from mlpkit.folders.run_folder import RunFolder
from mlpkit.models.architecture import hidden_widths
from mlpkit.plots.report_charts import Chart, draw
from mlpkit.plots.report_html import Html, bullets, details, joined, paragraphs, picture, table, tag
from mlpkit.system.console import number
from mlpkit.version import __version__

LARGEST_PICTURES = 1_200_000  # bytes of all pictures in a report, which are a third longer in HTML
MOST_NAMED = 8  # features or classes in a sentence

MODELS = {"mlp": "A multilayer perceptron", "linear": "A linear model", "logistic": "A logistic regression"}
PICTURES = {  # by the file's name
    "fit": "The model's line through the data.",
    "predicted": "Predicted over true values; a perfect model's points lie on the diagonal.",
    "residuals": "Errors over predicted values.",
    "boundary": "The rows, coloured by class, and what the model predicts between them.",
    "confusion": "Confusion matrix: true classes by row, predicted ones by column.",
    "probabilities": "ROC, precision and recall, thresholds, and calibration of the probabilities.",
    "calibration": "How often the likeliest class is right, by its probability.",
    "labels": "Each label's scores.",
    "samples": "Pictures with true and predicted classes.",
}


def footer(path: Path) -> str:
    """Return what wrote the report, when, and of which folder."""
    return f"mlpkit {__version__}, {time.strftime('%Y-%m-%d %H:%M')}, of {path}"


def labels_part(labels: Labels) -> Html:
    """Return the user's tags and note."""
    return paragraphs(*describe_labels(labels))


def first_paragraph(facts: RunFacts) -> str:
    """Return what was trained on what, in plain words."""
    return " ".join(_sentences(facts))


def _sentences(facts: RunFacts) -> Iterator[str]:
    config, schema = facts.config, facts.schema
    model = MODELS.get(config.model.name, f"The model {config.model.name}")
    if widths := hidden_widths(config.model):
        model += (
            f" with {'a hidden layer' if len(widths) == 1 else 'hidden layers'} of {listed(widths)} units"
        )
    size = f" ({plural(facts.parameters, 'parameter')})" if facts.parameters else ""
    rows = [f"{count:,} {_ROWS_FOR[split]}" for split, count in facts.sizes.items()]
    yield f"{model}{size} was trained on {config.dataset.title()}{f': {listed(rows)}' if rows else ''}."
    if schema is not None:
        inputs = f"{plural(len(schema.features), 'feature')} ({listed(schema.features)})"
        if schema.is_image:
            inputs = f"pictures of {' × '.join(map(str, schema.input_shape))} pixels"
        elif schema.encoder is not None:
            inputs = plural(len(schema.encoder.columns), "column")
            inputs += f" ({listed([column.column for column in schema.encoder.columns])})"
        kind = f", one of {len(schema.classes)} classes ({listed(schema.classes)})," if schema.classes else ""
        kind = ", each yes or no," if schema.task == "multilabel" else kind
        yield f"It predicts {listed(schema.targets)}{kind} from {inputs}."
        loss = config.loss.for_task(schema.task).on_output(schema.task)
        schedule = "" if config.scheduler.name == "none" else f", schedule {config.scheduler.name}"
        yield f"The loss is {loss}; the optimizer is {config.optimizer.name}{schedule}."
    if facts.last is not None:
        others = f", together with {plural(facts.together - 1, 'other run')}" if facts.together > 1 else ""
        took = "" if facts.seconds is None else f" in {seconds(facts.seconds)}{others}"
        by = config.trainer.ended_by(facts.seconds or 0)
        early = f", which {by} ended" if facts.status == "stopped early" else ""
        yield f"It trained for {plural(facts.last.epoch, 'epoch')}{took}{early}."
    if facts.best is not None:
        by = f" by {facts.monitored}" if facts.monitored else ""
        yield (
            f"Its best weights{by} are those of epoch {facts.best.epoch:,}: it predicts with them"
            f"{', and the pictures show them' if any(facts.folder.plots.glob('*.png')) else ''}."
        )


def seconds(value: float) -> str:
    """Return a time with as many digits as it is worth."""
    return f"{value:,.{2 if value < 10 else 0}f} s"


_ROWS_FOR = {"train": "rows to train on", "val": "to choose the best epoch", "test": "to test on"}


def listed(items: Sequence[object]) -> str:
    """Return items as a list in a sentence; of many, the first ones."""
    words = [str(item) for item in items]
    if len(words) > MOST_NAMED:
        return f"{', '.join(words[:MOST_NAMED])}, …"
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def scores_part(facts: RunFacts) -> Html:
    """Return the scores of the best weights with intervals and baseline, and those of the last weights."""
    if facts.best is None and facts.last is None:
        return paragraphs("No epoch has ended yet, so there are no scores.")
    parts, best, last = list[str](), facts.best, facts.last
    if best is not None:
        parts += [_scores_at(best, "best", facts), paragraphs(_chosen_by(facts.monitored, list(best.scores)))]
        if facts.final is not None:
            parts += [tag("p", interval_text(facts.final)), paragraphs(_against_baseline(facts, best))]
        elif facts.status in FINISHED and len(best.scores) > 1:
            word = f"mlpkit evaluate {shlex.quote(str(facts.folder.path))}"
            parts.append(
                tag(
                    "p",
                    "Intervals and baselines are stored for runs that are trained alone; this shows them: ",
                    tag("code", word),
                )
            )
    if last is not None and (best is None or last.epoch != best.epoch):
        parts.append(_scores_at(last, "last", facts))
    return joined(*parts)


def _scores_at(at: AtEpoch, which: str, facts: RunFacts) -> Html:
    title = f"{which.capitalize()} weights, of epoch {at.epoch:,}"
    final = facts.final if which == "best" else None
    return joined(
        tag("h3", title),
        table(score_table(with_baseline(at.scores, final)), f"Scores of the {title.lower()}"),
    )


def _chosen_by(monitored: str, splits: Sequence[str]) -> str:
    """Return a caution if no split is left that has had no part in the training; else an empty text."""
    split = monitored.partition(" ")[0]
    if not split or split != splits[-1]:
        return ""
    if split == "train":
        return "No rows were held out, so nothing is known of how it predicts other rows."
    return f"The best epoch was chosen by the scores on {split}, which are therefore a little too good."


def _against_baseline(facts: RunFacts, best: AtEpoch) -> str:
    """Return whether the model is better than the constant prediction, by its accuracy or R²."""
    final = facts.final
    if final is None or final.weighted:
        return ""
    name = next((name for name in ("accuracy", "r2") if name in final.baseline), "")
    model, constant = best.scores.get(final.split, {}).get(name), final.baseline.get(name)
    if model is None or not isinstance(constant, float | int):
        return ""
    what = f"predicting the {final.baseline_name} for every row"
    low, high = final.intervals.get(name, (model, model))
    verdict = (
        "better than" if low > constant else "worse than" if high < constant else "not shown to differ from"
    )
    return f"On {final.split} it is {verdict} {what}: {name} {number(model)} against {number(constant)}."


def curves_part(charts: Sequence[Chart], about: str) -> Html:
    """Return charts over the same epochs, with a line on how to read them that begins with `about`."""
    if not charts:
        return Html()
    hint = "Drag to zoom in, double-click to see all epochs; a click on a name hides its curve."
    return joined(
        tag("p", f"{about} {hint}", class_="tool"),
        tag("div", *map(draw, charts), class_="charts side"),
    )


def run_pictures(folder: RunFolder) -> Html:
    """Return the run's pictures but for its curves, which the report draws itself."""
    paths = [] if folder.plots.is_symlink() else sorted(folder.plots.glob("*.png"))
    named = [(path, read_png(path)) for path in paths if path.stem != "curves"]
    return pictures([(png, PICTURES.get(path.stem, path.stem)) for path, png in named if png is not None])


def pictures(drawn: Sequence[tuple[bytes, str]]) -> Html:
    """Return pictures, each with what it shows; those beyond the size of a report are only named."""
    shown, left_out, total = list[Html](), list[str](), 0
    for content, about in drawn:
        if total + len(content) > LARGEST_PICTURES:
            left_out.append(about)
            continue
        total += len(content)
        shown.append(picture(content, about))
    return joined(
        tag("div", *shown, class_="side") if shown else Html(),
        *(tag("p", f"Too large for a report, see plots/: {about}") for about in left_out),
    )


def read_png(path: Path) -> bytes | None:
    """Return a picture of a folder that may be foreign; None if it is a link, or no PNG."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > 10 * LARGEST_PICTURES:
        return None
    content = path.read_bytes()
    return content if content.startswith(b"\x89PNG\r\n") else None


def data_part(facts: RunFacts) -> Html:
    """Return the columns of a table, and what the model must not be used for without care."""
    if facts.schema is None:
        return Html()
    parts = (
        [tag("p", f"File: {path}")]
        if isinstance(path := getattr(facts.config.dataset, "path", None), str)
        else []
    )
    if found := column_table(facts.schema):
        columns, more = found
        parts.append(table(columns, "Columns of the table"))
        if more:
            parts.append(tag("p", f"And {plural(more, 'more column')}."))
    parts.append(tag("h3", "Limits"))
    parts.append(bullets(list(limits(facts.schema, facts.sizes, facts.temperature != 1))))
    return joined(*parts)


def settings_part(facts: RunFacts) -> Html:
    """Return the settings that differ from the defaults, and the whole config."""
    rows = [
        (each.key, _shown(each.value), "must be set" if each.default is NONE else _shown(each.default))
        for each in changed_settings(facts.config)
    ]
    whole = yaml_file.dump(to_dict(facts.config)).strip()
    return joined(
        table(Rows(("setting", "value", "default"), rows), "Dataset, model, and settings that differ"),
        details("The whole config", tag("pre", whole, tabindex="0")),
    )


def _shown(value: object) -> str:
    return value if isinstance(value, str) else show(value)


def environment_part(facts: RunFacts) -> Html:
    """Return versions, device and machine."""
    rows = list(environment_rows(facts.environment))
    if facts.fork is not None:
        rows.insert(0, ("forked from", f"{facts.fork.run} at step {facts.fork.step}"))
    return table(Rows(("name", "value"), rows), "Environment") if rows else Html()
